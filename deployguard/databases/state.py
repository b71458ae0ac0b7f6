"""What all products share about the state that deployguard keeps in the target database."""

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import compress, islice
from typing import Any

from deployguard.databases.base import Changes, Checkpoint, Key, RowTable
from deployguard.errors import LeaseLost, Refused, StepFailed

TABLES = ("kept", "checkpoint", "fence")
CHECKPOINT = "shard, begins, until, number, after, changed, total, done"
"""Columns of the table of checkpoints that `checkpoint_of` reads and `columns_of` fills, in this order."""


def checkpoint_of(found: Sequence[Any]) -> Checkpoint:
    """A checkpoint as it was stored."""
    shard, begin, until, number, after, changed, total, done = found
    return Checkpoint(
        shard, load_key(begin), load_key(until), number, load_key(after), changed, total, done=bool(done)
    )  # fmt: skip


def columns_of(checkpoint: Checkpoint) -> tuple[object, ...]:
    """A checkpoint as it is stored."""
    c = checkpoint
    keys = (dump_key(c.begin), dump_key(c.until))
    return (c.shard, *keys, c.number, dump_key(c.after), c.changed, c.total, c.done)


def dump_key(key: Key | None) -> str | None:
    """A key as text that `load_key` reads back exactly."""
    return None if key is None else json.dumps([{"hex": v.hex()} if isinstance(v, bytes) else v for v in key])


def load_key(text: str | None) -> Key | None:
    """The key that `dump_key` wrote."""
    if text is None:
        return None
    return tuple(bytes.fromhex(v["hex"]) if isinstance(v, dict) else v for v in json.loads(text))


def require_fence(found: int | None, fence: int, where: str) -> None:
    """Let only the newest holder pass.

    Args:
        found: the token that the database holds, None for none.
        fence: the caller's.
        where: the database, for people.

    Raises:
        LeaseLost: they differ.
    """
    if found != fence:
        newest = "none" if found is None else found
        raise LeaseLost(
            f"lease {fence} may not write to {where} any more: lease {newest} has claimed it",
            hint="'deployguard runs' shows who holds the environment now. Nothing of this batch was kept.",
        )


def only_number(rows: list[tuple[object, ...]]) -> float:
    """The one number that a query gave.

    Raises:
        Refused: it gave anything else.
    """
    if len(rows) != 1 or len(rows[0]) != 1 or not isinstance(rows[0][0], (int, float, Decimal)):
        raise Refused("the query does not give one number", hint="Write a query such as 'select count(*) from …'.")
    return float(rows[0][0])


def refuse_unstorable(table: RowTable, changes: Sequence[Changes], *, nul: bool) -> None:
    """Name the rows whose new value is no text that a server stores.

    Args:
        table: of the rows.
        changes: what is to be written.
        nul: whether the server takes NUL for a character.

    Raises:
        StepFailed: a value is not UTF-8, or holds NUL.
    """
    bad: dict[Key, None] = {}
    for some in changes:
        for index, column in zip(some.columns, some.new, strict=True):
            text = b"".join(column)
            # nearly always all of them are tokens
            if index not in table.binary and not (text.isascii() and (nul or b"\0" not in text)):
                unfit = ((not nul and b"\0" in new) or not _is_utf8(new) for new in column)
                bad |= dict.fromkeys(compress(some.keys, unfit))
    if bad:
        keys = ", ".join("/".join(map(str, key)) for key in islice(bad, 5))
        raise StepFailed(
            f"{table.name}, primary key {keys}: the value holds bytes that this database cannot store as text",
            hint="Let the application write these rows anew, then resume: nothing of this batch was kept.",
        )


def _is_utf8(value: bytes) -> bool:
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
