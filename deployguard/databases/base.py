"""What every database product promises to the rooms above. Its file says only how it does it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, overload

from deployguard.databases.residue import Residue

Value = int | float | str | bytes
Key = tuple[Value, ...]
"""Values of a primary key's columns, in order."""

PREFIX = "deployguard_"
"""Of the tables that deployguard keeps in the target database."""


@dataclass(frozen=True)
class Identity:
    """Which database this is, in words a person can compare."""

    engine: str
    version: str
    host: str
    database: str
    server_id: str


@dataclass(frozen=True)
class ColumnShape:
    """A column as the database declares it."""

    name: str
    type: str
    width: int | None = None
    """The most characters it may hold; None where there is no limit that the database enforces."""
    nullable: bool = True
    generated: bool = False
    text: bool = True
    """Whether it stores text as it is given; others, such as JSON or dates, give back their own spelling."""
    binary: bool = False
    """Whether it stores bytes as they are given. A product may have columns that store either."""


@dataclass(frozen=True)
class TableShape:
    """A table as the database declares it."""

    name: str
    columns: dict[str, ColumnShape]
    key: tuple[str, ...]
    is_view: bool = False
    unique: frozenset[str] = frozenset()
    """Columns that a unique constraint or index covers."""
    indexed: frozenset[str] = frozenset()
    referenced: frozenset[str] = frozenset()
    """Columns that another table's foreign key points to, or that point elsewhere."""
    triggers: tuple[str, ...] = ()
    """Names of triggers that an update fires."""
    obstacle: str = ""
    """Why its rows cannot be rewritten safely and what to do, as the rest of a sentence about the table."""


class Condition(NamedTuple):
    """What a column of the primary key must be."""

    column: str
    operator: Literal["<", "<=", ">", ">=", "=", "!="]
    value: Value


Shape = tuple[int, int, int, str]
"""Values of at least so many bytes whose length, divided by the second, leaves the third, and that match a regular
expression, byte by byte."""
Mark = int
"""What tells the rows that one batch has written last from all others, where the product has such a thing."""


@dataclass(frozen=True)
class Sieve:
    """Which values make a row worth reading, so that the database need not hand over the others.

    Attributes:
        unlike: those that are of none of these shapes; none asks nothing.
        empty: columns whose empty values are worth it too; elsewhere they are not, and NULL never is.
        unless: rows that one of these batches has written last are not worth it, whatever they hold.
        begins: those that begin like this and have `long` bytes; "" asks nothing.
        longer: those of more bytes than the number of their column; None asks nothing.
    """

    unlike: tuple[Shape, ...] = ()
    empty: frozenset[int] = frozenset()
    unless: tuple[Mark, ...] = ()
    begins: str = ""
    long: int = 0
    longer: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class RowTable:
    """What is read and written of a table: its key, the columns at work, and which rows.

    Attributes:
        until: the last key that belongs to it; None for all there are, later ones too.
        where: all of them hold for each row.
        sieve: which of these rows are read; all where there is none. A value that is stored as
            something else than text, or bytes, always makes its row worth it.
        binary: columns whose values are bytes; those of the others are text.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    until: Key | None = None
    where: tuple[Condition, ...] = ()
    sieve: Sieve | None = None
    binary: frozenset[int] = frozenset()


class Row(NamedTuple):
    """A row as it is stored: exact bytes, None for NULL.

    Attributes:
        foreign: columns whose value is stored as something else than text, or bytes where these
            belong; it is not to be rewritten, since the way back would not be exact.
    """

    key: Key
    values: tuple[bytes | None, ...]
    foreign: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Page(Sequence[Row]):
    """Rows, held a column at a time: there are millions, and to make an object of each takes as long as to seal one.

    Attributes:
        keys: of each row.
        columns: the rows' values of each column of the table, in its order.
        foreign: see `Row`; none at all where a driver's rows have none.
    """

    keys: Sequence[Key] = ()
    columns: Sequence[Sequence[bytes | None]] = field(default=(), repr=False)
    foreign: Sequence[frozenset[int]] = ()

    @classmethod
    def of(cls, table: RowTable, found: Sequence[Sequence[Any]]) -> Self:
        """What a query gave, a column at a time: the table's key, then its values; nothing at all of no rows."""
        width = len(table.key)
        return cls([*zip(*found[:width], strict=True)], found[width:] or [()] * len(table.columns))

    def __len__(self) -> int:
        """How many rows."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Row]:
        """Row by row."""
        many = len(self.keys)
        values = zip(*self.columns, strict=True) if self.columns else [()] * many
        return starmap(Row, zip(self.keys, values, self.foreign or [frozenset[int]()] * many, strict=True))

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> "Row | Self":
        """One row, or some as a page."""
        if isinstance(at, slice):
            return type(self)(self.keys[at], [column[at] for column in self.columns], self.foreign[at])
        values = tuple(column[at] for column in self.columns)
        return Row(self.keys[at], values, self.foreign[at] if self.foreign else frozenset())


@dataclass(frozen=True)
class Changes:
    """New values for the same columns of at least one row, and the old ones they depend on, a column at a time.

    Attributes:
        columns: numbers of the table's columns.
        keys: of each row.
        old: what is there now, for each of the columns in order: the value of each row.
        new: what is to be there.
    """

    columns: tuple[int, ...]
    keys: Sequence[Key]
    old: Sequence[Sequence[bytes]] = field(repr=False)
    new: Sequence[Sequence[bytes]] = field(repr=False)

    def __len__(self) -> int:
        """How many rows."""
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[Key, tuple[bytes, ...], tuple[bytes, ...]]]:
        """Key, old and new values, row by row."""
        return zip(self.keys, zip(*self.old, strict=True), zip(*self.new, strict=True), strict=True)

    def __getitem__(self, rows: slice) -> "Changes":
        """Of some rows."""
        return self._each(lambda column: column[rows])

    def at(self, rows: Sequence[int]) -> "Changes":
        """Of some rows, by their numbers."""
        return self._each(lambda column: [column[n] for n in rows])

    def _each(self, some: Callable[[Sequence[Any]], Sequence[Any]]) -> "Changes":
        return Changes(self.columns, some(self.keys), [*map(some, self.old)], [*map(some, self.new)])


@dataclass(frozen=True)
class Checkpoint:
    """Where an operation on a range of a table's keys stands; kept in the target, in the rows' own transaction.

    Attributes:
        shard: number of the range, from 0 in the order of the keys.
        begin, until: the range: after the one, up to and including the other; None is the table's end.
        number: of the pass, from 1.
        after: the last key that this pass is done with.
        changed: rows changed in this pass.
        total: rows changed in all passes before.
        done: a pass over the whole table has found nothing to do.
    """

    shard: int = 0
    begin: Key | None = None
    until: Key | None = None
    number: int = 1
    after: Key | None = None
    changed: int = 0
    total: int = 0
    done: bool = False


@dataclass(frozen=True)
class Kept:
    """A value that is to survive the undo: a token that was there before the operation."""

    column: str
    key: Key
    digest: bytes = field(repr=False)


PAGE_BYTES = 8 << 20
"""After so many bytes of values a page ends: memory stays flat, whatever the rows hold."""


def within(table: RowTable, more: Callable[[], Sequence[tuple[Any, ...]]]) -> Page:
    """The rows of some small portions, until there are no more or their values are `PAGE_BYTES` together."""
    columns: list[list[Any]] = []
    size, values = 0, slice(len(table.key), len(table.key) + len(table.columns))
    while size <= PAGE_BYTES and (portion := more()):
        found = [*zip(*portion, strict=True)]
        columns = columns or [[] for _ in found]
        for column, part in zip(columns, found, strict=True):
            column.extend(part)
        size += sum(sum(map(len, filter(None, part))) for part in found[values])
    return Page.of(table, columns)


@dataclass(frozen=True)
class Part:
    """Changes, and what the product sends for them."""

    changes: Changes
    sent: Any = field(repr=False)


@dataclass(frozen=True)
class Ready:
    """Changes of a table in the form in which its product takes them: nothing is left to do but to send them."""

    table: RowTable
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Gentle:
    """How little is written where others write too, so that hardly one of their writes has to wait.

    Attributes:
        rows: of a batch.
        share: of the time in which one writes; the rest is the others'.
        times: about so many times as long as at full speed it takes.
    """

    rows: int
    share: float
    times: int


class Batch(Protocol):
    """One transaction under a fencing token."""

    def swap(self, ready: Ready) -> list[Key]:
        """Write each change whose old values are still there, compared byte by byte; the keys of the others."""

    def save(self, operation: str, table: str, checkpoint: Checkpoint) -> Mark | None:
        """Move the checkpoint of one of an operation's ranges; the mark of this batch, where the product has them."""

    def keep(self, operation: str, table: str, kept: Sequence[Kept]) -> None:
        """Remember values that the undo must leave."""


class Database(Protocol):
    """One connection to one database.

    Attributes:
        gentle: how rows are rewritten beside others; measured for the product.
    """

    gentle: Gentle

    def writes(self) -> int:
        """A number that changes when anybody has written; this connection's own writes need not change it."""

    def identity(self) -> Identity:
        """Which database this is, as it says itself."""

    def size(self) -> int:
        """Bytes on disk."""

    def folder(self) -> Path | None:
        """Where it keeps its files, as it says itself; None where this user may not know."""

    def number(self, query: str) -> float:
        """The one number that a query gives."""

    def lag(self) -> float | None:
        """Seconds that this server is behind the one that it copies; None where it copies none, or has stopped to."""

    def tables(self) -> list[str]:
        """Names of the application's tables, in order; those that deployguard keeps are left out."""

    def shape(self, table: str) -> TableShape:
        """How a table is declared. Raises `Refused` when it is not there."""

    def count(self, table: str, where: Sequence[Condition] = ()) -> int:
        """Rows, at this moment."""

    def cut(self, table: RowTable, every: int) -> list[Key]:
        """Keys that cut the table's rows of this moment into ranges of `every` rows; each ends a range, in order."""

    def page(self, table: RowTable, after: Key | None, limit: int) -> Page:
        """Rows in key order, those after a key; no transaction stays open.

        At most `limit`, and fewer where they are large: about `PAGE_BYTES` together, at
        least one row. No rows mean the end.
        """

    def rows(self, table: RowTable, keys: Sequence[Key]) -> Page:
        """The rows of some keys, as they are now; those that are gone are left out."""

    def fence(self) -> int:
        """The highest fencing token that was ever claimed here; 0 for none. Creates nothing."""

    def claim(self, fence: int) -> None:
        """Shut out every lower fencing token. Raises `LeaseLost` when a higher one was here."""

    def ready(self, table: RowTable, changes: Sequence[Changes]) -> Ready:
        """Changes for a batch to swap, made before it begins: others wait for no more than the sending.

        Raises:
            StepFailed: a new value is nothing that the product can store.
        """

    def batch(self, fence: int) -> AbstractContextManager[Batch]:
        """A transaction that commits at the end, or keeps nothing; `LeaseLost` when fenced out."""

    def checkpoints(self, operation: str, table: str) -> list[Checkpoint]:
        """Where an operation stands, range by range; none when it has not begun."""

    def checkpoint(self, operation: str, table: str, shard: int) -> Checkpoint | None:
        """Where it stands in one of them."""

    def keeps(self, operation: str, table: str) -> bool:
        """Whether there are values that the undo must leave."""

    def kept(self, operation: str, table: RowTable, keys: Sequence[Key]) -> dict[tuple[str, Key], bytes]:
        """Those of some rows: digest by column and key."""

    def operations(self) -> set[str]:
        """Names of the operations that have a checkpoint here."""

    def forget(self) -> None:
        """Remove everything that deployguard keeps in this database."""

    def residue(self) -> Residue:
        """What it keeps of values that were there before."""

    def close(self) -> None:
        """Let go of the connection."""
