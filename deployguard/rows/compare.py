"""Two copies of one database: is each value still the same, once it is opened?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from deployguard.databases.base import Database, Key, Row, RowTable
from deployguard.keys.keyring import Locked, Opened
from deployguard.keys.sealer import Sealers
from deployguard.rows.progress import Meter, Pulse
from deployguard.rows.tables import as_declared, tables_of
from deployguard.rows.target import EncryptedColumn

PAGE = 1000
_NAMED = 5


@dataclass(frozen=True)
class Difference:
    """Rows of a column that are not what they were: how many, and the keys of the first."""

    table: str
    column: str
    count: int
    keys: tuple[str, ...]

    def describe(self) -> str:
        """One sentence with the primary keys, never the content."""
        more = ", …" if self.count > len(self.keys) else ""
        return f"{self.table}.{self.column}: {self.count:,} rows differ (primary key {', '.join(self.keys)}{more})"


Values = Sequence[bytes | None]
Seen = Callable[[str, str, Values], Values]
"""(table, column, stored values) → what they are compared as; rows come by the million, so many are asked about at a
time."""


def as_stored(_table: str, _column: str, values: Values) -> Values:
    """Every byte as it stands."""
    return values


def as_read(sealers: Sealers) -> Seen:
    """What the application reads: the content of a token, anything else as it stands."""

    def seen(table: str, column: str, values: Values) -> Values:
        opened = iter(sealers.of(table, column).look([value for value in values if value is not None]))
        return [value if value is None else _content(value, next(opened)) for value in values]

    return seen


def _content(value: bytes, found: Opened | Locked | None) -> bytes:
    return found.plaintext if isinstance(found, Opened) else value


def differences(
    original: Database, changed: Database, columns: Sequence[EncryptedColumn], seen: Seen, *, pulse: Pulse
) -> list[Difference]:
    """Every value that differs between two databases that nobody writes to.

    Args:
        original: what was there.
        changed: what became of it; its keys and columns have the same names.
        columns: to compare.
        seen: what a value is compared as, on both sides.
        pulse: see `Pulse`.

    A row that is only in one of them differs in every column. Memory stays flat: a page of
    one, and the rows of the same keys of the other, are held at a time.
    """
    found: list[Difference] = []
    for work in tables_of(changed, columns):
        found += _in_table(original, changed, work.table, seen, pulse)
    return found


def _in_table(original: Database, changed: Database, table: RowTable, seen: Seen, pulse: Pulse) -> list[Difference]:
    counted = {column: Difference(table.name, column, 0, ()) for column in table.columns}
    meter = Meter(f"comparing {table.name}", original.count(table.name), pulse)
    after: Key | None = None
    former = as_declared(table, original.shape(table.name))
    while page := [*original.page(former, after, PAGE)]:
        others = {row.key: row for row in changed.page(table, after, PAGE)}
        if elsewhere := [row.key for row in page if row.key not in others]:
            others |= {row.key: row for row in changed.rows(table, elsewhere)}
        for index, column in enumerate(table.columns):
            for key in _differing(page, others, index, partial(seen, table.name, column)):
                counted[column] = _noted(counted[column], key)
        after = page[-1].key
        meter.add(len(page), PAGE)
    if (more := changed.count(table.name) - meter.done) > 0:
        first = counted[table.columns[0]]
        counted[table.columns[0]] = replace(first, count=first.count + more, keys=(*first.keys, "new rows"))
    return [difference for difference in counted.values() if difference.count]


def _differing(
    page: Sequence[Row], others: Mapping[Key, Row], index: int, seen: Callable[[Values], Values]
) -> list[Key]:
    """Keys of a page's rows that are not the same in one column."""
    pairs = [(row, others.get(row.key)) for row in page]
    unlike = [(a, b) for a, b in pairs if b is not None and a.values[index] != b.values[index]]
    were, are = (
        (seen([row.values[index] for row in rows]) for rows in zip(*unlike, strict=True)) if unlike else ((), ())
    )
    bad = {row.key for (row, _), was, now in zip(unlike, were, are, strict=True) if was != now}
    return [row.key for row, other in pairs if other is None or row.key in bad]


def _noted(difference: Difference, key: Key) -> Difference:
    keys = difference.keys
    if len(keys) < _NAMED:
        keys = (*keys, "/".join(str(part) for part in key))
    return replace(difference, count=difference.count + 1, keys=keys)
