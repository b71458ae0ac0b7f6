"""Encrypt, decrypt and rotate: three ideas of what a row should become, one loop (`passes`)."""

import hashlib
from collections.abc import Sequence

from deployguard.databases.base import Database, Kept, Row
from deployguard.errors import Refused
from deployguard.keys.keyring import Keyring, Opened, has_token_form, token_time
from deployguard.rows.passes import Idea, Passes, Rewritten, Values
from deployguard.rows.progress import Pulse
from deployguard.rows.tables import Work, tables_of
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import verify

__all__ = ["Rewritten", "decrypt", "encrypt", "rotate"]


def encrypt(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Keyring,
    *,
    operation: str,
    fence: int,
    pulse: Pulse,
    since: float,
) -> list[Rewritten]:
    """Make every plaintext a token under the primary key.

    All values are read first: if one cannot be encrypted safely, nothing is written.

    Args:
        database: open for writing.
        columns: any number of tables.
        keyring: its primary key seals.
        operation: names the work; the same name goes on where a crash stopped it.
        fence: fencing token of the lease this run holds.
        pulse: see `Pulse`.
        since: when the run began, in seconds since 1970. Tokens made before were there
            before us and stay what they are when this is undone.

    Raises:
        Refused: a value's token would not fit, has no key, or is not text; nothing was written.
        StepFailed: such a value came during the run; nothing of its batch is kept.
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    works = tables_of(database, columns)
    found = verify(database, columns, keyring, pulse=pulse)
    if bad := found.of("too wide", "unknown", "foreign"):
        raise Refused(
            "; ".join(f"{p.table}.{p.column}: {p.describe()}" for p in bad),
            hint="Nothing was written. Mend these rows first.",
        )
    database.claim(fence)
    return [
        Passes(database, work, operation, fence, pulse, _encryption(work, keyring, since)).until_clean()
        for work in works
    ]


def _encryption(work: Work, keyring: Keyring, since: float) -> Idea:
    empty_too = [column.empty_becomes == "token" for column in work.columns]

    def sealed(values: Values, column: int, _: Sequence[Row]) -> Values:
        plain = [empty_too[column] if value == b"" else value and not has_token_form(value) for value in values]
        tokens = iter(keyring.seal_many([value or b"" for value, wanted in zip(values, plain, strict=True) if wanted]))
        return [next(tokens) if wanted else None for wanted in plain]

    def kept(page: Sequence[Row]) -> list[Kept]:
        return [
            Kept(work.table.columns[index], row.key, _digest(value))
            for row in page
            for index, value in enumerate(row.values)
            if value and has_token_form(value) and token_time(value) < since
        ]

    return Idea("encrypt", sealed, kept)


def decrypt(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Keyring,
    *,
    operation: str,
    fence: int,
    pulse: Pulse,
    undo_of: str | None = None,
) -> list[Rewritten]:
    """Make every token that a known key opens its plaintext again, byte for byte.

    Args:
        database: open for writing.
        columns: any number of tables.
        keyring: all its keys open.
        operation: names the work; the same name goes on where a crash stopped it.
        fence: fencing token of the lease this run holds.
        pulse: see `Pulse`.
        undo_of: an encrypt operation whose older tokens, as far as they are unchanged,
            stay tokens: what was there before it is there after.

    Raises:
        StepFailed: a plaintext cannot be stored; nothing of its batch is kept.
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    works = tables_of(database, columns)
    database.claim(fence)
    return [
        Passes(database, work, operation, fence, pulse, _decryption(database, work, keyring, undo_of)).until_clean()
        for work in works
    ]


def _decryption(database: Database, work: Work, keyring: Keyring, undo_of: str | None) -> Idea:
    kept = database.kept(undo_of, work.table.name) if undo_of is not None else {}

    def opened(values: Values, column: int, rows: Sequence[Row]) -> Values:
        found = [o.plaintext if isinstance(o, Opened) else None for o in keyring.look([v or b"" for v in values])]
        if not kept:
            return found
        name = work.table.columns[column]
        return [
            None if kept.get((name, row.key)) == _digest(value or b"") else plaintext
            for row, value, plaintext in zip(rows, values, found, strict=True)
        ]

    return Idea("decrypt", opened)


def rotate(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Keyring,
    *,
    operation: str,
    fence: int,
    pulse: Pulse,
) -> list[Rewritten]:
    """Make every token of an older key a token under the primary one.

    Args:
        database: open for writing.
        columns: any number of tables.
        keyring: all its keys open, the primary seals.
        operation: names the work; the same name goes on where a crash stopped it.
        fence: fencing token of the lease this run holds.
        pulse: see `Pulse`.

    Raises:
        Refused: a column's field reads only one key; nothing was written.
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    works = tables_of(database, columns)
    if alone := [f"{c.table}.{c.column}" for c in columns if not c.rotates]:
        raise Refused(
            f"the application reads tokens of one key only in {', '.join(alone)}",
            hint="Decrypt with the old key and encrypt with the new one in a maintenance window.",
        )
    database.claim(fence)
    idea = Idea("rotate", lambda values, _, __: _rotated(values, keyring))
    return [Passes(database, work, operation, fence, pulse, idea).until_clean() for work in works]


def _rotated(values: Values, keyring: Keyring) -> Values:
    found = [o if isinstance(o, Opened) and o.key else None for o in keyring.look([v or b"" for v in values])]
    sealed = iter(keyring.seal_many([o.plaintext for o in found if o]))
    return [next(sealed) if o else None for o in found]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
