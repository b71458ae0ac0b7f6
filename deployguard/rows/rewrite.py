"""Encrypt, decrypt and rotate: three ideas of what a row should become, one loop (`passes`)."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from deployguard.databases.base import Checkpoint, Database, Kept, Page, Sieve
from deployguard.errors import Refused
from deployguard.keys.keyring import Opened
from deployguard.keys.sealer import Sealer, Sealers
from deployguard.keys.tokens import BEGIN, STAMP, shapes, token_length
from deployguard.rows.crew import Alone, Crew, Desk
from deployguard.rows.only import Only
from deployguard.rows.passes import Idea, Job, Passes, Rewritten, Values
from deployguard.rows.progress import BatchSize, Pulse
from deployguard.rows.tables import tables_of
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import STRANGE, verify

__all__ = ["Rewritten", "decrypt", "encrypt", "rotate"]


def encrypt(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Sealers,
    *,
    operation: str,
    fence: int,
    pulse: Pulse,
    since: float,
    crew: Crew | None = None,
    batch: BatchSize | None = None,
    some: Only | None = None,
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
        crew: who does it; this process by default.
        batch: how large a transaction may be.
        some: which rows; all by default.

    Raises:
        Refused: a value's token would not fit, has no key, or is not text; nothing was written.
        StepFailed: such a value came during the run; nothing of its batch is kept.
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    some = some or Only()
    works = some.of(tables_of(database, columns))
    crew = crew or Alone(Desk(database, keyring))
    found = verify(database, columns, keyring, pulse=pulse, crew=crew, some=some, suspects=True)
    if bad := found.of("too wide", "unknown", *STRANGE):
        raise Refused(
            "; ".join(f"{p.table}.{p.column}: {p.describe()}" for p in bad),
            hint="Nothing was written. Mend these rows first.",
        )
    database.claim(fence)
    job = partial(
        Job, "encrypt", _encryption, operation=operation, fence=fence, since=since, batch=batch or BatchSize(),
        limit=some.limit,
    )  # fmt: skip
    return [Passes(database, crew, job(work), pulse).until_clean() for work in works]


def _encryption(desk: Desk, job: Job, _: int) -> Idea:
    columns, since = job.work.columns, job.since
    sealers = [desk.of(column) for column in columns]
    empty_too = [column.empty_becomes == "token" for column in columns]

    def sealed(values: Values, column: int, _: Page) -> Values:
        whole = all(values)
        forms = sealers[column].forms(values if whole else [value or b"" for value in values])  # type: ignore[arg-type]
        if whole and not any(forms):
            return sealers[column].seal_many(values)  # type: ignore[arg-type]  # none is None
        plain = [
            empty_too[column] if value == b"" else value and form is None
            for value, form in zip(values, forms, strict=True)
        ]
        wanted = [value or b"" for value, is_plain in zip(values, plain, strict=True) if is_plain]
        tokens = iter(sealers[column].seal_many(wanted))
        return [next(tokens) if is_plain else None for is_plain in plain]

    def kept(page: Page) -> list[Kept]:
        return [
            Kept(name, key, _digest(value or b""))
            for name, values, sealer in zip(job.table.columns, page.columns, sealers, strict=True)
            for key, value, old in zip(page.keys, values, _from_before(values, since, sealer), strict=True)
            if old
        ]

    empty = frozenset(index for index, wanted in enumerate(empty_too) if wanted)
    return Idea(sealed, kept, _unless_spoken(columns, Sieve(unlike=shapes(), empty=empty)), at_once=True)


def _unless_spoken(columns: Sequence[EncryptedColumn], sieve: Sieve) -> Sieve | None:
    """No sieve for a table with a column that the application seals: a database does not know its tokens."""
    return None if any(column.sealed_by == "application" for column in columns) else sieve


def decrypt(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Sealers,
    *,
    operation: str,
    fence: int,
    pulse: Pulse,
    undo_of: str | None = None,
    since: float = 0.0,
    crew: Crew | None = None,
    batch: BatchSize | None = None,
    some: Only | None = None,
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
        since: when that operation's run began.
        crew: who does it; this process by default.
        batch: how large a transaction may be.
        some: which rows; all by default. Of an undo: those of the operation.

    Raises:
        StepFailed: a plaintext cannot be stored; nothing of its batch is kept.
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    some = some or Only()
    works = some.of(tables_of(database, columns))
    crew = crew or Alone(Desk(database, keyring))
    database.claim(fence)
    limit = None if undo_of else some.limit
    job = partial(
        Job, "decrypt", _decryption, operation=operation, fence=fence, since=since, undo_of=undo_of,
        batch=batch or BatchSize(), limit=limit,
    )  # fmt: skip
    return [_decrypted(database, crew, job(work), pulse) for work in works]


def _decrypted(database: Database, crew: Crew, job: Job, pulse: Pulse) -> Rewritten:
    if job.undo_of is None:
        return Passes(database, crew, job, pulse).until_clean()
    ranges, unseen = _ranges_of(database.checkpoints(job.undo_of, job.table.name))
    job = replace(job, unseen=unseen, spares=database.keeps(job.undo_of, job.table.name))
    return Passes(database, crew, job, pulse, ranges).until_clean()


def _ranges_of(done: Sequence[Checkpoint]) -> tuple[list[Checkpoint], frozenset[int]]:
    """The ranges of an operation, cut where its first pass stands, and the numbers of those it had not come to."""
    pieces: list[tuple[Checkpoint, bool]] = []
    for each in done:
        over = each.number > 1 or each.done
        if over or each.after != each.begin:
            pieces.append((each if over else replace(each, until=each.after), False))
        if not over:
            pieces.append((replace(each, begin=each.after), True))
    if not done:
        pieces = [(Checkpoint(), True)]
    ranges = [Checkpoint(n, p.begin, p.until, after=p.begin) for n, (p, _) in enumerate(pieces)]
    return ranges, frozenset(n for n, (_, unseen) in enumerate(pieces) if unseen)


def _decryption(desk: Desk, job: Job, number: int) -> Idea:
    def opened(values: Values, column: int, page: Page) -> Values:
        sealer = desk.of(job.work.columns[column])
        found = [o.plaintext if isinstance(o, Opened) else None for o in sealer.look([v or b"" for v in values])]
        stays = _staying(desk, job, number, job.work.columns[column], page, values)
        return [None if stay else plaintext for plaintext, stay in zip(found, stays, strict=True)]

    return Idea(opened, later=_unless_spoken(job.work.columns, Sieve(begins=BEGIN, long=token_length(0))))


def _staying(desk: Desk, job: Job, number: int, column: EncryptedColumn, page: Page, values: Values) -> Sequence[bool]:
    """Which values an undo must leave: what was there before the operation came to it is there after."""
    if number in job.unseen:
        return _from_before(values, job.since, desk.of(column))
    if not job.spares or job.undo_of is None:
        return [False] * len(page)
    kept = desk.database.kept(job.undo_of, replace(job.table, columns=(column.column,)), page.keys)
    return [
        kept.get((column.column, key)) == _digest(value or b"") for key, value in zip(page.keys, values, strict=True)
    ]


def _from_before(values: Values, since: float, sealer: Sealer) -> list[bool]:
    """Which values are tokens that say they were made before a moment, in seconds since 1970."""
    forms = sealer.forms([value or b"" for value in values])
    return [form is not None and int.from_bytes(form[STAMP]) < since for form in forms]


def rotate(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Sealers,
    *,
    operation: str,
    fence: int,
    pulse: Pulse,
    crew: Crew | None = None,
    batch: BatchSize | None = None,
    some: Only | None = None,
) -> list[Rewritten]:
    """Make every token of an older key a token under the primary one.

    Args:
        database: open for writing.
        columns: any number of tables.
        keyring: all its keys open, the primary seals.
        operation: names the work; the same name goes on where a crash stopped it.
        fence: fencing token of the lease this run holds.
        pulse: see `Pulse`.
        crew: who does it; this process by default.
        batch: how large a transaction may be.
        some: which rows; all by default.

    Raises:
        Refused: a column's field reads only one key; nothing was written.
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    some = some or Only()
    works = some.of(tables_of(database, columns))
    crew = crew or Alone(Desk(database, keyring))
    if alone := [c.place for c in columns if not c.rotates]:
        raise Refused(
            f"the application reads tokens of one key only in {', '.join(alone)}",
            hint="Decrypt with the old key and encrypt with the new one in a maintenance window.",
        )
    database.claim(fence)
    job = partial(
        Job, "rotate", _rotation, operation=operation, fence=fence, batch=batch or BatchSize(), limit=some.limit
    )
    return [Passes(database, crew, job(work), pulse).until_clean() for work in works]


def _rotation(desk: Desk, job: Job, _: int) -> Idea:
    return Idea(lambda values, column, _: _rotated(values, desk.of(job.work.columns[column])))


def _rotated(values: Values, sealer: Sealer) -> Values:
    found = [o if isinstance(o, Opened) and o.key else None for o in sealer.look([v or b"" for v in values])]
    sealed = iter(sealer.seal_many([o.plaintext for o in found if o]))
    return [next(sealed) if o else None for o in found]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
