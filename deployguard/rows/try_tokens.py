"""Tokens that are in the tables already, a part of them: do the keys open them?"""

from collections.abc import Collection

from deployguard.databases.base import Database, RowTable
from deployguard.keys.keyring import Keyring, has_token_form
from deployguard.rows.tables import as_declared

SAMPLE = 20_000
"""Rows of each table that are looked at; `rows.verify` reads all."""
FIND_THE_KEY = (
    "This is not the key they were made with. Find that key before anything is changed: "
    "without it their content is lost."
)
"""What to do about tokens that do not open."""


def try_tokens(
    database: Database, keyring: Keyring, places: Collection[tuple[str, str]] | None = None
) -> tuple[int, str]:
    """How many tokens open, and in words where some do not; empty where all do.

    Args:
        database: read from.
        keyring: the keys that are to open them.
        places: tables and columns to look at; by default all, while nobody says where tokens are.
    """
    found, strange = 0, list[str]()
    for name in database.tables():
        shape = database.shape(name)
        text = tuple(c for c in shape.columns if c not in shape.key and (places is None or (name, c) in places))
        if not shape.key or not text:
            continue
        lost: dict[int, int] = {}
        for row in database.page(as_declared(RowTable(name, shape.key, text), shape), None, SAMPLE):
            for index, value in enumerate(row.values):
                if value is not None and has_token_form(value):
                    opens = keyring.open(value) is not None
                    found += opens
                    lost[index] = lost.get(index, 0) + (not opens)
        strange += [f"{count} in {name}.{text[index]}" for index, count in lost.items() if count]
    return found, f"tokens are there that no given key opens: {'; '.join(strange)}" if strange else ""
