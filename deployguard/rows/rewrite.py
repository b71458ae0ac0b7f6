"""Rewriting every row in place: encrypt, decrypt and rotate are one loop with three ideas of a row.

A pass walks a table by its primary key. Each batch is read without a lock, worked on
in memory, and written in one transaction together with the checkpoint and under the
fencing token; a row whose value changed meanwhile is read again, never overwritten.
Passes repeat until one changes nothing, since code that does not know of the change
may write behind the cursor.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deployguard.databases.base import Change, Checkpoint, Database, Kept, Key, Row
from deployguard.errors import Refused, StepFailed
from deployguard.keys.keyring import Keyring, has_token_form, token_time
from deployguard.rows.progress import BatchSize, Meter, Pulse
from deployguard.rows.tables import Work, tables_of, width_of
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import verify

MOST_PASSES = 20
"""After so many passes that each found something, somebody is writing faster than we rewrite."""
_LOST_RACES = 5


@dataclass(frozen=True)
class Rewritten:
    """What was done to one table by all passes of the operation, resumed ones included."""

    table: str
    rows: int
    """Rows changed."""
    passes: int


NewValue = Callable[[bytes | None, int, Row], bytes | None]
"""(value, column, row) → what to write instead, or None to leave it."""


@dataclass(frozen=True)
class _Rewrite:
    """One operation over one table."""

    database: Database
    work: Work
    operation: str
    fence: int
    pulse: Pulse
    verb: str
    new_value: NewValue
    to_keep: Callable[[Row], list[Kept]]

    def until_clean(self) -> Rewritten:
        checkpoint = self.database.checkpoint(self.operation, self.work.table.name) or Checkpoint()
        if checkpoint.done:
            # asked again: whatever was written since is found by one more pass
            checkpoint = Checkpoint(checkpoint.number + 1, total=checkpoint.total)
        last = checkpoint.number + MOST_PASSES
        while True:
            checkpoint = self._pass(checkpoint)
            if checkpoint.changed == 0:
                self._save(replace(checkpoint, done=True))
                return Rewritten(self.work.table.name, checkpoint.total, checkpoint.number)
            if checkpoint.number >= last:
                raise StepFailed(
                    f"{self.work.table.name}: after {MOST_PASSES} passes there is still something to {self.verb}",
                    hint="Code that does not know of the change is still writing: restart or stop it, then resume.",
                )
            checkpoint = Checkpoint(checkpoint.number + 1, total=checkpoint.total + checkpoint.changed)
            self._save(checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        with self.database.batch(self.fence) as batch:
            batch.save(self.operation, self.work.table.name, checkpoint)

    def _pass(self, checkpoint: Checkpoint) -> Checkpoint:
        size = BatchSize()
        label = f"{self.verb} {self.work.table.name}" + (f", pass {checkpoint.number}" if checkpoint.number > 1 else "")
        meter = Meter(label, self.database.count(self.work.table.name), self.pulse)
        while page := self.database.page(self.work.table, checkpoint.after, size.rows):
            begun = time.monotonic()
            checkpoint = self._batch(page, checkpoint)
            size.took(time.monotonic() - begun)
            meter.add(len(page), size.rows)
        return checkpoint

    def _batch(self, page: list[Row], checkpoint: Checkpoint) -> Checkpoint:
        changes = self._changes(page)
        kept = [k for row in page for k in self.to_keep(row)] if checkpoint.number == 1 else []
        moved = replace(checkpoint, after=page[-1].key, changed=checkpoint.changed + len(changes))
        with self.database.batch(self.fence) as batch:
            lost = batch.swap(self.work.table, changes)
            batch.save(self.operation, self.work.table.name, moved)
            if kept:
                batch.keep(self.operation, self.work.table.name, kept)
        self._again(lost)
        return moved

    def _again(self, lost: list[Key]) -> None:
        for _ in range(_LOST_RACES):
            if not lost:
                return
            changes = self._changes(self.database.rows(self.work.table, lost))
            with self.database.batch(self.fence) as batch:
                lost = batch.swap(self.work.table, changes)
        # what is still lost is somebody's busiest row: this pass counted a change, so another follows

    def _changes(self, rows: Sequence[Row]) -> list[Change]:
        changes = []
        for row in rows:
            columns, old, new = [], [], []
            for index, value in enumerate(row.values):
                written = self.new_value(value, index, row)
                if value is not None and written is not None:
                    columns.append(index)
                    old.append(value)
                    new.append(self._fitting(written, index, row))
            if columns:
                changes.append(Change(row.key, tuple(columns), tuple(old), tuple(new)))
        return changes

    def _fitting(self, written: bytes, index: int, row: Row) -> bytes:
        width = width_of(self.work, index)
        if width is not None and len(written) > width and has_token_form(written):
            column = self.work.columns[index]
            raise StepFailed(
                f"{column.table}.{column.column}: the token of row {row.key} has {len(written)} characters, the column holds {width}",
                hint="Widen the column with a migration, then resume: nothing of this batch was kept.",
            )
        return written


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
        LeaseLost: a later run holds the environment; nothing of the batch is kept.
    """
    works = tables_of(database, columns)
    found = verify(database, columns, keyring, pulse=pulse)
    if bad := found.of("too wide", "unknown", "foreign"):
        raise Refused(
            "; ".join(f"{p.table}.{p.column}: {p.describe()}" for p in bad),
            hint="Nothing was written. Mend these rows first.",
        )

    def sealed(value: bytes | None, index: int, work: Work) -> bytes | None:
        if value is None or has_token_form(value):
            return None
        if not value and work.columns[index].empty_becomes != "token":
            return None
        return keyring.seal(value)

    def keep(row: Row, work: Work) -> list[Kept]:
        return [
            Kept(work.table.columns[index], row.key, _digest(value))
            for index, value in enumerate(row.values)
            if value is not None and has_token_form(value) and token_time(value) < since
        ]

    database.claim(fence)
    return [
        _Rewrite(
            database, work, operation, fence, pulse, "encrypting",
            lambda value, index, _, work=work: sealed(value, index, work), lambda row, work=work: keep(row, work),
        ).until_clean()
        for work in works
    ]  # fmt: skip


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
        undo_of: an encrypt operation whose older tokens, as far as they are unchanged,
            stay tokens: what was there before it is there after.
        database, columns, keyring, operation, fence, pulse: as for `encrypt`.
    """
    works = tables_of(database, columns)
    database.claim(fence)
    return [_decrypted(database, work, keyring, operation, fence, pulse, undo_of) for work in works]


def _decrypted(  # noqa: PLR0913 - all of them are the operation
    database: Database, work: Work, keyring: Keyring, operation: str, fence: int, pulse: Pulse, undo_of: str | None
) -> Rewritten:
    kept = database.kept(undo_of, work.table.name) if undo_of is not None else {}

    def opened(value: bytes | None, index: int, row: Row) -> bytes | None:
        if value is None or not has_token_form(value):
            return None
        if kept.get((work.table.columns[index], row.key)) == _digest(value):
            return None
        found = keyring.open(value)
        return found.plaintext if found else None

    return _Rewrite(database, work, operation, fence, pulse, "decrypting", opened, lambda _: []).until_clean()


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

    Raises:
        Refused: a column's field would not read them.
    """
    works = tables_of(database, columns)

    def renewed(value: bytes | None, index: int, row: Row) -> bytes | None:  # noqa: ARG001 - one shape for three ideas
        if value is None or not has_token_form(value):
            return None
        found = keyring.open(value)
        return keyring.seal(found.plaintext) if found and found.key else None

    database.claim(fence)
    return [
        _Rewrite(database, work, operation, fence, pulse, "rotating", renewed, lambda _: []).until_clean()
        for work in works
    ]


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
