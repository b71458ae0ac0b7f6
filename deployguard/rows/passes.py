"""The loop that every rewriting of rows is: passes over a table, batch by batch, until one changes nothing.

A pass walks a table by its primary key. Each batch is read without a lock, worked on
in memory while the batch before is written, and written in one transaction together
with the checkpoint and under the fencing token; a row whose value changed meanwhile is
read again, never overwritten.
Passes repeat until one changes nothing, since code that does not know of the change
may write behind the cursor.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from deployguard.databases.base import Change, Checkpoint, Database, Kept, Key, Row
from deployguard.errors import StepFailed
from deployguard.rows.progress import BatchSize, Meter, Pulse
from deployguard.rows.tables import Work, widths_of

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


Values = Sequence[bytes | None]


@dataclass(frozen=True)
class Idea:
    """What one operation does to a table. Both work on a column of a page at a time: rows come by the million.

    Attributes:
        verb: for people, as in "encrypt"; its -ing form stands in the progress.
        renewed: (values, column, rows they stand in) → the new values, in order; None leaves one as it is.
        kept: values of a page that the undo must leave; asked in the first pass only.
    """

    verb: str
    renewed: Callable[[Values, int, Sequence[Row]], Values]
    kept: Callable[[Sequence[Row]], list[Kept]] = lambda _: []


@dataclass(frozen=True)
class Passes:
    """One operation over one table."""

    database: Database
    work: Work
    operation: str
    fence: int
    pulse: Pulse
    idea: Idea

    def until_clean(self) -> Rewritten:
        """Walk until a pass changes nothing, from where a crash left it.

        Raises:
            StepFailed: it never gets clean, or a value cannot be written.
            LeaseLost: a later run holds the environment.
        """
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
                    f"{self.work.table.name}: after {MOST_PASSES} passes there is still something to {self.idea.verb}",
                    hint="Code that does not know of the change is still writing: restart or stop it, then resume.",
                )
            checkpoint = Checkpoint(checkpoint.number + 1, total=checkpoint.total + checkpoint.changed)
            self._save(checkpoint)

    def _save(self, checkpoint: Checkpoint) -> None:
        with self.database.batch(self.fence) as batch:
            batch.save(self.operation, self.work.table.name, checkpoint)

    def _pass(self, checkpoint: Checkpoint) -> Checkpoint:
        size = BatchSize()
        verb = f"{self.idea.verb.removesuffix('e')}ing"
        label = f"{verb} {self.work.table.name}" + (f", pass {checkpoint.number}" if checkpoint.number > 1 else "")
        meter = Meter(label, self.database.count(self.work.table.name), self.pulse)
        # SQLite gives way to the other thread at each row, and gets slower: there all is done in turn
        with ThreadPoolExecutor(1) if self.database.works_elsewhere else _InTurn() as beside:
            page, changes = self._ahead(beside, checkpoint.after, size)
            while page:
                # the next page is worked on in memory while the server writes this one
                following, later = self._ahead(beside, page[-1].key, size)
                begun = time.monotonic()
                checkpoint = self._batch(page, changes.result(), checkpoint)
                size.took(time.monotonic() - begun)
                meter.add(len(page), size.rows)
                page, changes = following, later
        return checkpoint

    def _ahead(self, beside: Executor, after: Key | None, size: BatchSize) -> tuple[list[Row], Future[list[Change]]]:
        page = self.database.page(self.work.table, after, size.rows)
        return page, beside.submit(self._changes, page)

    def _batch(self, page: list[Row], changes: list[Change], checkpoint: Checkpoint) -> Checkpoint:
        kept = self.idea.kept(page) if checkpoint.number == 1 else []
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
        columns = range(len(self.work.columns))
        nothing = (None,) * len(columns)
        renewed = zip(*(self._renewed(rows, index) for index in columns), strict=True)
        return [_change(row, new) for row, new in zip(rows, renewed, strict=True) if new != nothing]

    def _renewed(self, rows: Sequence[Row], index: int) -> Values:
        renewed = self.idea.renewed([row.values[index] for row in rows], index, rows)
        width = widths_of(self.work)[index]
        longest = max((len(new) for new in renewed if new is not None), default=0)
        # no character takes less than a byte: only what may not fit is looked at one by one
        if (width is not None and longest > width) or any(row.foreign for row in rows):
            for row, new in zip(rows, renewed, strict=True):
                self._check(new, index, row, width)
        return renewed

    def _check(self, new: bytes | None, index: int, row: Row, width: int | None) -> None:
        if new is None:
            return
        column = self.work.columns[index]
        where = f"{column.table}.{column.column}, primary key {'/'.join(map(str, row.key))}"
        if index in row.foreign:
            raise StepFailed(
                f"{where}: the value is stored as something else than text",
                hint="Convert the row to text, then resume: nothing of this batch was kept.",
            )
        if width is not None and len(new.decode("utf-8", "replace")) > width:
            raise StepFailed(
                f"{where}: the new value has {len(new)} bytes, the column holds {width} characters",
                hint="Widen the column with a migration, then resume: nothing of this batch was kept.",
            )


class _InTurn(Executor):
    """Does the work when it is given."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as Executor
        done: Future[Any] = Future()
        done.set_result(work(*args, **kwargs))
        return done


def _change(row: Row, new: tuple[bytes | None, ...]) -> Change:
    at = tuple(i for i, value in enumerate(new) if value is not None)
    if len(at) == len(new):
        return Change(row.key, at, row.values, new)  # type: ignore[arg-type]  # none is None, so none was
    return Change(row.key, at, tuple(row.values[i] or b"" for i in at), tuple(new[i] or b"" for i in at))
