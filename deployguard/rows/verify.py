"""Every row is read and every value classified: the counts before and after, and whether they are good."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import compress, islice
from typing import Self

from deployguard.databases.base import Database, Key, Page, Sieve
from deployguard.keys.keyring import token_length
from deployguard.keys.sealer import Sealer, Sealers
from deployguard.keys.tokens import BEGIN, content_length
from deployguard.rows.classify import Class, classes
from deployguard.rows.crew import Alone, Crew, Desk, Slice, carry_out
from deployguard.rows.only import Only
from deployguard.rows.progress import Meter, Pulse
from deployguard.rows.tables import Work, ranges, tables_of, widths_of
from deployguard.rows.target import ColumnCount, EncryptedColumn

PAGE = 2000
"""Rows read at a time: memory stays flat, whatever the table's size."""

_MEANING = {
    "plaintext": ("is not encrypted", "Run the encryption again; does old code still write?"),
    "unknown": (
        "has the form of a token that no known key opens",
        "Find the key it was made with, or restore these rows from a backup.",
    ),
    "nested": ("is encrypted twice", "Decrypt these rows once; did two tools encrypt them?"),
    "foreign": (
        "is stored as something else than text",
        "Convert these rows to text first: the way back would not be exact.",
    ),
    "not bytes": (
        "is stored as something else than bytes",
        "Convert these rows in the migration, as with CAST(… AS BLOB): the application reads bytes there.",
    ),
    "inexact": (
        "would not come back byte for byte from the application",
        "Have the application write these rows anew, as it spells them, before encrypting.",
    ),
    "too wide": ("would not fit as a token", "Widen the column with a migration before encrypting."),
    "empty": ("is empty, where the application stores a token", "Run the encryption again."),
}

STRANGE = ("foreign", "not bytes", "inexact")
"""Kinds of values that could not be put back as they were."""


@dataclass(frozen=True)
class Problem:
    """Rows of a column that are not as they should be: how many, and the keys of the first."""

    table: str
    column: str
    kind: str
    count: int
    keys: tuple[str, ...]

    def describe(self) -> str:
        """One sentence with the primary keys and what to do; never the content."""
        what, hint = _MEANING[self.kind]
        more = ", …" if self.count > len(self.keys) else ""
        rows = "row" if self.count == 1 else "rows"
        keys = f" (primary key {', '.join(self.keys)}{more})" if self.keys else ""
        return f"{self.count} {rows}: the value {what}{keys}. {hint}"


@dataclass(frozen=True)
class Verification:
    """What a full reading found."""

    columns: tuple[ColumnCount, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether every value is what the application would have written under a known key."""
        return not self.problems

    def of(self, *kinds: str) -> list[Problem]:
        """The problems of some kinds."""
        return [p for p in self.problems if p.kind in kinds]


def verify(
    database: Database,
    columns: Sequence[EncryptedColumn],
    keyring: Sealers,
    *,
    pulse: Pulse,
    keys: int = 5,
    crew: Crew | None = None,
    some: Only | None = None,
    suspects: bool = False,
) -> Verification:
    """Read every row of every column and open every token.

    Args:
        database: a read-only connection will do.
        columns: what to look at.
        keyring: keys that may open tokens.
        pulse: called after each page.
        keys: how many primary keys of bad rows to name for each column and kind.
        crew: who reads; this process by default.
        some: which rows; all by default, and its limit means nothing here.
        suspects: have the database leave out what neither begins like a token nor may be too wide as
            one. All problems but plaintext are found all the same; the counts are of what was read.

    Raises:
        Refused: a table is not there, or cannot be paged through.
    """
    crew = crew or Alone(Desk(database, keyring))
    counted: list[ColumnCount] = []
    problems: list[Problem] = []
    works = (some or Only()).of(tables_of(database, columns))
    for work in map(_suspects, works) if suspects else works:
        tally = _read(database, crew, work, keys, pulse)
        counted += tally.counts(work)
        problems += tally.problems(work)
    return Verification(tuple(counted), tuple(problems))


def _read(database: Database, crew: Crew, work: Work, keys: int, pulse: Pulse) -> "_Tally":
    rows = database.count(work.table.name, work.table.where)
    meter = Meter(f"reading {work.table.name}", rows, pulse)

    borders = ranges(database, replace(work.table, sieve=None), rows)

    def told(done: Slice[_Part] | None) -> None:
        if done is None:
            meter.tell()
        elif work.table.sieve is not None and done.ended:
            meter.add_range(len(borders), PAGE)
        elif done.rows:
            meter.add(done.rows if work.table.sieve is None else 0, PAGE)

    parts = [_Part(work, until, begin, _Tally.of(work, keys)) for begin, until in borders]
    found = carry_out(crew.hands(rows), read_slice, parts, told)
    return reduce(_Tally.with_, (part.tally for part in found))


def _suspects(work: Work) -> Work:
    """Only rows with what may be a token that does not open, or a value whose token does not fit."""
    if any(column.sealed_by == "application" for column in work.columns):
        return work  # neither has a form that a database knows
    longer = tuple(None if width is None else content_length(width) for width in widths_of(work))
    sieve = Sieve(begins=BEGIN, long=token_length(0), longer=longer)
    return replace(work, table=replace(work.table, sieve=sieve))


@dataclass(frozen=True)
class _Part:
    """A range of a table, read as far as a key."""

    work: Work
    until: Key | None
    after: Key | None
    tally: "_Tally"


def read_slice(desk: Desk, part: _Part, seconds: float) -> Slice[_Part]:
    """Read some pages of a range, at least one."""
    table, after, tally = replace(part.work.table, until=part.until), part.after, _Tally.of(part.work, part.tally.most)
    reader, until = _Reader(part.work, [desk.of(c) for c in part.work.columns]), time.monotonic() + seconds
    while page := desk.database.page(table, after, PAGE):
        reader.add(page, tally)
        after = page.keys[-1]
        if time.monotonic() >= until:
            break
    return Slice(replace(part, after=after, tally=part.tally.with_(tally)), tally.rows, ended=not page)


@dataclass
class _Tally:
    """Counts of a table's columns: how many values of each class, and the keys of the first bad ones."""

    most: int
    """Keys to name of each column and kind."""
    counted: list[Counter[str]]
    bad: dict[tuple[int, str], tuple[int, list[str]]] = field(default_factory=dict)
    rows: int = 0

    @classmethod
    def of(cls, work: Work, most: int) -> Self:
        """Nothing was counted yet."""
        return cls(most, [Counter() for _ in work.columns])

    def with_(self, later: "_Tally") -> "_Tally":
        """Both together."""
        bad = dict(self.bad)
        for place, (count, keys) in later.bad.items():
            before, named = bad.get(place, (0, []))
            bad[place] = (before + count, [*named, *keys][: self.most])
        counted = [one + other for one, other in zip(self.counted, later.counted, strict=True)]
        return _Tally(self.most, counted, bad, self.rows + later.rows)

    def counts(self, work: Work) -> list[ColumnCount]:
        """By column."""
        return [
            ColumnCount(c.table, c.column, self.rows, **found)
            for c, found in zip(work.columns, self.counted, strict=True)
        ]

    def note(self, index: int, kind: str, many: int, keys: Iterable[Key]) -> None:
        """So many more bad values; `keys` begin with the first."""
        count, named = self.bad.get((index, kind), (0, []))
        named += ["/".join(map(str, key)) for key in islice(keys, self.most - len(named))]
        self.bad[index, kind] = (count + many, named)

    def problems(self, work: Work) -> list[Problem]:
        """By column and kind."""
        return [
            Problem(work.table.name, work.columns[index].column, kind, count, tuple(named))
            for (index, kind), (count, named) in sorted(self.bad.items())
        ]


class _Reader:
    """Looks at pages of one table, column by column."""

    def __init__(self, work: Work, sealers: Sequence[Sealer]) -> None:
        self._work, self._sealers = work, sealers
        self._widths = widths_of(work)

    def add(self, page: Page, tally: _Tally) -> None:
        """Count a page."""
        tally.rows += len(page)
        for index, column in enumerate(self._work.columns):
            values = page.columns[index]
            kinds = classes(values, self._sealers[index])
            sealed = {"plaintext", "empty"} if column.empty_becomes == "token" else {"plaintext"}
            _count(tally.counted[index], values, kinds)
            if column.sealed_by == "application":
                self._add_spoken(page, index, kinds, sealed, tally)
                continue
            lengths = Counter(len(v or b"") for v, kind in zip(values, kinds, strict=True) if kind in sealed)
            tally.counted[index]["bytes_after"] += sum((token_length(n) - n) * many for n, many in lengths.items())
            self._note(page, index, kinds, sealed | {"unknown", "nested"}, tally)
            width = self._widths[index]
            if width is not None and lengths and token_length(max(lengths)) > width:
                self._note_wide(page, index, kinds, sealed, tally, width)

    def _add_spoken(
        self, page: Page, index: int, kinds: Sequence[Class], sealed: AbstractSet[str], tally: _Tally
    ) -> None:
        """Of a column that the application seals: how long a token gets is known once it has made one."""
        self._note(page, index, kinds, sealed | {"unknown", "nested"}, tally)
        plain = [kind in sealed for kind in kinds]
        keys, width = [*compress(page.keys, plain)], self._widths[index]
        values = [value or b"" for value in compress(page.columns[index], plain)]
        sizes = self._sealers[index].sizes(values)
        pairs = zip(values, sizes, strict=True)
        tally.counted[index]["bytes_after"] += sum(size - len(value) for value, size in pairs if size is not None)
        inexact = [key for key, size in zip(keys, sizes, strict=True) if size is None]
        wide = [key for key, size in zip(keys, sizes, strict=True) if width is not None and (size or 0) > width]
        tally.counted[index]["too_wide"] += len(wide)
        for kind, bad in (("inexact", inexact), ("too wide", wide)):
            if bad:
                tally.note(index, kind, len(bad), bad)

    def _note(self, page: Page, index: int, kinds: Sequence[Class], bad: Collection[str], tally: _Tally) -> None:
        """Bad values, and those that are stored as something else than text."""
        for kind, many in Counter(kinds).items():
            if kind in bad:
                first = (key for key, each in zip(page.keys, kinds, strict=True) if each == kind)
                tally.note(index, kind, many, first)
        foreign = [row.key for row in page if index in row.foreign] if page.foreign else []
        if foreign:
            binary = self._work.columns[index].stored_as == "binary"
            tally.note(index, "not bytes" if binary else "foreign", len(foreign), foreign)

    def _note_wide(
        self,
        page: Page,
        index: int,
        kinds: Sequence[Class],
        sealed: Collection[str],
        tally: _Tally,
        width: int,
    ) -> None:
        wide = [
            key
            for key, value, kind in zip(page.keys, page.columns[index], kinds, strict=True)
            if kind in sealed and token_length(len(value or b"")) > width
        ]
        tally.counted[index]["too_wide"] += len(wide)
        tally.note(index, "too wide", len(wide), wide)


def _count(counts: Counter[str], values: Sequence[bytes | None], kinds: Sequence[Class]) -> None:
    for kind, count in Counter(kinds).items():
        counts[kind] += count
    size = sum(map(len, filter(None, values)))
    counts["bytes"] += size
    # what is to be sealed grows: `add` says by how much
    counts["bytes_after"] += size
