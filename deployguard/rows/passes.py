"""The loop that every rewriting of rows is: passes over a table, batch by batch, until one changes nothing.

A table is cut into ranges of keys, each with a checkpoint of its own, so that several can
be worked on side by side. A pass walks each range by the primary key. A batch is read
without a lock, worked on in memory, and written in one transaction together with the
checkpoint and under the fencing token; a row whose value changed meanwhile is read again,
never overwritten. Passes over the whole table repeat until one changes nothing, since
code that does not know of the change may write behind the cursor.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from deployguard.databases.base import Changes, Checkpoint, Database, Kept, Key, Mark, Page, Ready, Row, RowTable, Sieve
from deployguard.errors import StepFailed
from deployguard.rows.crew import Crew, Desk, Hands, Slice, carry_out
from deployguard.rows.manners import Others
from deployguard.rows.progress import BatchSize, Meter, Pulse
from deployguard.rows.tables import Work, ranges, widths_of

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
    limited: bool = False
    """Whether it ended because it was to change no more rows; the rest is as it was."""


Values = Sequence[bytes | None]


@dataclass(frozen=True)
class Idea:
    """What one operation does to a table. Both work on a column of a page at a time: rows come by the million.

    Attributes:
        renewed: (values, column, page they are of) → the new values, in order; None leaves one as it is.
        kept: values of a page that the undo must leave; asked in the first pass, of pages that keep an old value.
        later: rows that may still be worth it after the first pass, which has seen all of them.
        at_once: whether a row that was written needs no second look until somebody else writes to it.
    """

    renewed: Callable[[Values, int, Page], Values]
    kept: Callable[[Page], list[Kept]] = lambda _: []
    later: Sieve | None = None
    at_once: bool = False


@dataclass(frozen=True)
class Job:
    """One operation over one table, in plain data: whoever has a desk can do a part of it.

    Attributes:
        verb: for people, as in "encrypt"; its -ing form stands in the progress.
        idea: (desk, job, number of the range) → what is to be done; a function of a module.
        operation: names the work; the same name goes on where a crash stopped it.
        fence: fencing token of the lease that the run holds.
        since: when the run began, in seconds since 1970.
        undo_of: the operation that this one takes back.
    """

    verb: str
    idea: Callable[[Desk, "Job", int], Idea]
    work: Work
    operation: str
    fence: int
    since: float = 0.0
    undo_of: str | None = None
    unseen: frozenset[int] = frozenset()
    """Of an undo: numbers of the ranges that the operation had not come to."""
    spares: bool = False
    """Of an undo: whether there are values that it must leave."""
    batch: BatchSize = field(default_factory=BatchSize)
    limit: int | None = None
    """Rows to change at most."""

    @property
    def table(self) -> RowTable:
        """What is rewritten."""
        return self.work.table


@dataclass(frozen=True)
class Passes:
    """One operation over one table."""

    database: Database
    crew: Crew
    job: Job
    pulse: Pulse
    ranges: Sequence[Checkpoint] = ()
    """Where its ranges begin and end, where that is given; otherwise the table is cut evenly."""

    def until_clean(self) -> Rewritten:
        """Walk until a pass changes nothing, from where a crash left it.

        Raises:
            StepFailed: it never gets clean, or a value cannot be written.
            LeaseLost: a later run holds the environment.
        """
        rows = self.database.count(self.job.table.name, self.job.table.where)
        # with a limit one after the other: nobody knows beforehand where it is reached
        hands = self.crew.hands(0 if self.job.limit else rows)
        others = Others(self.database, hands)
        others.listen()
        shards = self._begun(rows)
        last = shards[0].number + MOST_PASSES
        marks: tuple[Mark, ...] = ()
        while True:
            shards, marks = self._pass(hands, others, shards, rows, marks)
            number = shards[0].number
            changed = sum(shard.total + shard.changed for shard in shards)
            if self.job.limit is not None and changed >= self.job.limit:
                return Rewritten(self.job.table.name, changed, number, limited=True)
            if not any(shard.changed for shard in shards):
                self._save([replace(shard, done=True) for shard in shards])
                return Rewritten(self.job.table.name, changed, number)
            if number >= last:
                raise StepFailed(
                    f"{self.job.table.name}: after {MOST_PASSES} passes there is still something to {self.job.verb}",
                    hint="Code that does not know of the change is still writing: restart or stop it, then resume.",
                )
            shards = self._save([_again(shard) for shard in shards])

    def _begun(self, rows: int) -> list[Checkpoint]:
        shards = self.database.checkpoints(self.job.operation, self.job.table.name)
        if not shards:
            return self._save(self.ranges or self._cut(rows))
        if all(shard.done for shard in shards):
            # asked again: whatever was written since is found by one more pass
            return self._save([_again(shard) for shard in shards])
        return shards

    def _cut(self, rows: int) -> list[Checkpoint]:
        cut = [(None, None)] if self.job.limit else ranges(self.database, self.job.table, rows)
        return [Checkpoint(n, begin, until, after=begin) for n, (begin, until) in enumerate(cut)]

    def _save(self, shards: Sequence[Checkpoint]) -> list[Checkpoint]:
        with self.database.batch(self.job.fence) as batch:
            for shard in shards:
                batch.save(self.job.operation, self.job.table.name, shard)
        return list(shards)

    def _pass(
        self, hands: Hands, others: Others, shards: list[Checkpoint], rows: int, marks: tuple[Mark, ...]
    ) -> tuple[list[Checkpoint], tuple[Mark, ...]]:
        number = shards[0].number
        label = f"{self.job.verb.removesuffix('e')}ing {self.job.table.name}"
        meter = Meter(label + (f", pass {number}" if number > 1 else ""), rows, self.pulse)

        def told(done: Slice[_Part] | None) -> None:
            meter.note = others.listen()
            if done is None:
                meter.tell()
            elif number > 1 and done.ended:
                meter.add_range(len(shards), done.batch)
            elif done.rows:
                meter.add(done.rows if number == 1 else 0, done.batch)

        parts = [_Part(self.job, shard.shard, self.job.batch, marks) for shard in shards]
        done = carry_out(hands, rewrite_slice, parts, told)
        made = marks if number > 1 else tuple(mark for part in done for mark in part.marks)
        return self.database.checkpoints(self.job.operation, self.job.table.name), made


def _again(shard: Checkpoint) -> Checkpoint:
    total = shard.total + shard.changed
    return replace(shard, number=shard.number + 1, after=shard.begin, changed=0, total=total, done=False)


@dataclass(frozen=True)
class _Part:
    """A range of a job; how far it is stands in the target."""

    job: Job
    shard: int
    batch: BatchSize
    marks: tuple[Mark, ...] = ()
    """Of the first pass's batches: rows that they wrote last are as they left them."""


def rewrite_slice(desk: Desk, part: _Part, seconds: float) -> Slice[_Part]:
    """Do some batches of a range, at least one."""
    job, size, rows = part.job, part.batch, 0
    checkpoint = desk.database.checkpoint(job.operation, job.table.name, part.shard)
    if checkpoint is None:
        raise StepFailed(f"{job.table.name}: the record of how far it is has gone", hint="Resume: it begins anew.")
    idea, later = job.idea(desk, job, part.shard), checkpoint.number > 1
    sieve = idea.later if later else None
    if sieve is not None and idea.at_once:
        sieve = replace(sieve, unless=part.marks)
    marks = list(part.marks)
    rewriter = _Rewriter(desk, job, idea, replace(job.table, until=checkpoint.until, sieve=sieve))
    until = time.monotonic() + seconds
    while True:
        gentle = desk.manners.gentle
        many = min(size.rows, desk.database.gentle.rows) if gentle else size.rows
        page = desk.database.page(rewriter.table, checkpoint.after, many)
        changes = rewriter.changes(page)
        left = None if job.limit is None else max(0, job.limit - checkpoint.total - checkpoint.changed)
        if left is not None and left < _many(changes):
            page, changes = _limited(page, changes, left)
        if not page:
            return Slice(replace(part, marks=tuple(marks)), rows, ended=True, batch=many)
        made = rewriter.made_ready(page, changes, checkpoint)
        with desk.manners.turn(desk.database.gentle):
            begun = time.monotonic()
            mark = rewriter.write(made)
            size = size if gentle else size.after(time.monotonic() - begun)
        checkpoint = made.checkpoint
        if mark is not None and not later:
            marks.append(mark)
        rows += len(page)
        if time.monotonic() >= until:
            return Slice(replace(part, batch=size, marks=tuple(marks)), rows, ended=False, batch=many)


def _many(changes: Sequence[Changes]) -> int:
    """Rows that change."""
    return sum(map(len, changes))


def _limited(page: Page, changes: Sequence[Changes], left: int) -> tuple[Page, list[Changes]]:
    """As much of a page as has so many rows that change, and their changes."""
    changed = {key for some in changes for key in some.keys}
    ends = [number for number, key in enumerate(page.keys, 1) if key in changed][:left]
    page = page[: ends[-1] if ends else 0]
    kept = {*page.keys}
    parts = [some.at([number for number, key in enumerate(some.keys) if key in kept]) for some in changes]
    return page, [some for some in parts if some]


@dataclass(frozen=True)
class _Write:
    """One batch, ready to be sent: the changes, what the undo must leave, and where the operation stands then."""

    ready: Ready
    kept: tuple[Kept, ...]
    checkpoint: Checkpoint


@dataclass(frozen=True)
class _Rewriter:
    """Makes changes of pages, and writes them."""

    desk: Desk
    job: Job
    idea: Idea
    table: RowTable

    def made_ready(self, page: Page, changes: Sequence[Changes], checkpoint: Checkpoint) -> "_Write":
        """All that can be done before the transaction begins."""
        # of rows that got new values in all columns there is nothing left to keep
        all_new = any(len(some) == len(page) and some.columns == self._whole for some in changes)
        keeps = checkpoint.number == 1 and not all_new
        moved = replace(checkpoint, after=page.keys[-1], changed=checkpoint.changed + _many(changes))
        ready = self.desk.database.ready(self.table, changes)
        return _Write(ready, tuple(self.idea.kept(page)) if keeps else (), moved)

    def write(self, made: "_Write") -> Mark | None:
        with self.desk.database.batch(self.job.fence) as batch:
            lost = batch.swap(made.ready)
            mark = batch.save(self.job.operation, self.table.name, made.checkpoint)
            if made.kept:
                batch.keep(self.job.operation, self.table.name, made.kept)
        self._again(lost)
        return mark

    def _again(self, lost: list[Key]) -> None:
        for _ in range(_LOST_RACES):
            if not lost:
                return
            changes = self.changes(self.desk.database.rows(self.table, lost))
            ready = self.desk.database.ready(self.table, changes)
            with self.desk.database.batch(self.job.fence) as batch:
                lost = batch.swap(ready)
        # what is still lost is somebody's busiest row: this pass counted a change, so another follows

    def changes(self, page: Page) -> list[Changes]:
        """What becomes of a page's rows, those together that change in the same columns."""
        if not page:
            return []
        renewed = [self._renewed(page, index, values) for index, values in enumerate(page.columns)]

        def of(columns: tuple[int, ...]) -> Changes:
            old, new = ([each[i] for i in columns] for each in (page.columns, renewed))
            return Changes(columns, page.keys, old, new)  # type: ignore[arg-type]  # what is NULL is never renewed

        if not any(None in column for column in renewed):
            # nearly every page of what was never sealed
            return [of(self._whole)]
        rows: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, new in enumerate(zip(*renewed, strict=True)):
            rows[tuple(index for index, value in enumerate(new) if value is not None)].append(row)
        return [of(some).at(numbers) for some, numbers in rows.items() if some]

    @property
    def _whole(self) -> tuple[int, ...]:
        return tuple(range(len(self.job.work.columns)))

    def _renewed(self, page: Page, index: int, values: Values) -> Values:
        renewed = self.idea.renewed(values, index, page)
        width = widths_of(self.job.work)[index]
        longest = max(map(len, filter(None, renewed)), default=0)
        # no character takes less than a byte: only what may not fit is looked at one by one
        if (width is not None and longest > width) or page.foreign:
            for row, new in zip(page, renewed, strict=True):
                self._check(new, index, row, width)
        return renewed

    def _check(self, new: bytes | None, index: int, row: Row, width: int | None) -> None:
        if new is None:
            return
        column = self.job.work.columns[index]
        where = f"{column.place}, primary key {'/'.join(map(str, row.key))}"
        binary = column.stored_as == "binary"
        if index in row.foreign:
            raise StepFailed(
                f"{where}: the value is stored as something else than {'bytes' if binary else 'text'}",
                hint="Convert the row, then resume: nothing of this batch was kept.",
            )
        if width is not None and (len(new) if binary else len(new.decode("utf-8", "replace"))) > width:
            held = f"{width} {'bytes' if binary else 'characters'}"
            raise StepFailed(
                f"{where}: the new value has {len(new)} bytes, the column holds {held}",
                hint="Widen the column with a migration, then resume: nothing of this batch was kept.",
            )
