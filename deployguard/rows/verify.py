"""Every row is read and every value classified: the counts before and after, and whether they are good."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deployguard.databases.base import Database, Key, Row
from deployguard.keys.keyring import Keyring, token_length
from deployguard.rows.classify import Class, classes
from deployguard.rows.progress import Meter, Pulse
from deployguard.rows.tables import Work, tables_of, widths_of
from deployguard.rows.target import ColumnCount, EncryptedColumn

PAGE = 2000
"""Rows read at a time: memory stays flat, whatever the table's size."""

_LOOKED_AT = {"plaintext", "empty", "unknown", "nested"}
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
    "too wide": ("would not fit as a token", "Widen the column with a migration before encrypting."),
    "empty": ("is empty, where the application stores a token", "Run the encryption again."),
}


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
    database: Database, columns: Sequence[EncryptedColumn], keyring: Keyring, *, pulse: Pulse, keys: int = 5
) -> Verification:
    """Read every row of every column and open every token.

    Args:
        database: a read-only connection will do.
        columns: what to look at.
        keyring: keys that may open tokens.
        pulse: called after each page.
        keys: how many primary keys of bad rows to name for each column and kind.

    Raises:
        Refused: a table is not there, or cannot be paged through.
    """
    counted: list[ColumnCount] = []
    problems: list[Problem] = []
    for work in tables_of(database, columns):
        tally = _Tally(work, keyring, keys)
        meter = Meter(f"reading {work.table.name}", database.count(work.table.name), pulse)
        after: Key | None = None
        while page := database.page(work.table, after, PAGE):
            tally.add(page)
            after = page[-1].key
            meter.add(len(page), PAGE)
        counted += tally.counts()
        problems += tally.problems()
    return Verification(tuple(counted), tuple(problems))


class _Tally:
    """Counts of one table, column by column."""

    def __init__(self, work: Work, keyring: Keyring, keys: int) -> None:
        self._work, self._keyring, self._most = work, keyring, keys
        self._widths = widths_of(work)
        self._counts: list[Counter[str]] = [Counter() for _ in work.columns]
        self._bad: dict[tuple[int, str], tuple[int, list[str]]] = {}
        self._rows = 0

    def add(self, page: Sequence[Row]) -> None:
        self._rows += len(page)
        for index in range(len(self._work.columns)):
            values = [row.values[index] for row in page]
            kinds = classes(values, self._keyring)
            self._count(index, values, kinds)
            for row, value, kind in zip(page, values, kinds, strict=True):
                if kind in _LOOKED_AT or index in row.foreign:
                    self._look(row, index, value or b"", kind)

    def _count(self, index: int, values: Sequence[bytes | None], kinds: Sequence[Class]) -> None:
        counts = self._counts[index]
        for kind, count in Counter(kinds).items():
            counts[kind] += count
        size = sum(map(len, filter(None, values)))
        counts["bytes"] += size
        # what is to be sealed grows: `_look` adds by how much
        counts["bytes_after"] += size

    def _look(self, row: Row, index: int, value: bytes, kind: Class) -> None:
        """At one value that is not simply as it should be."""
        sealed = kind == "plaintext" or (kind == "empty" and self._work.columns[index].empty_becomes == "token")
        if sealed or kind in {"unknown", "nested"}:
            self._note(row, index, kind)
        if index in row.foreign:
            self._note(row, index, "foreign")
        if sealed:
            after, width = token_length(len(value)), self._widths[index]
            self._counts[index]["bytes_after"] += after - len(value)
            if width is not None and after > width:
                self._counts[index]["too_wide"] += 1
                self._note(row, index, "too wide")

    def _note(self, row: Row, index: int, kind: str) -> None:
        count, keys = self._bad.get((index, kind), (0, []))
        if len(keys) < self._most:
            keys.append("/".join(str(part) for part in row.key))
        self._bad[index, kind] = (count + 1, keys)

    def counts(self) -> list[ColumnCount]:
        return [
            ColumnCount(c.table, c.column, self._rows, **found)
            for c, found in zip(self._work.columns, self._counts, strict=True)
        ]

    def problems(self) -> list[Problem]:
        return [
            Problem(self._work.table.name, self._work.columns[index].column, kind, count, tuple(keys))
            for (index, kind), (count, keys) in sorted(self._bad.items())
        ]
