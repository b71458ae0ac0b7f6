"""Columns → tables to work on, and what must be so before the first write."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from deployguard.databases.base import Database, Key, RowTable, TableShape
from deployguard.errors import Refused
from deployguard.rows.target import EncryptedColumn

_RANGE = 50_000
_MOST_RANGES = 64


@dataclass(frozen=True)
class Work:
    """A table and its columns at work, in the order of `table.columns`."""

    table: RowTable
    columns: tuple[EncryptedColumn, ...]
    shape: TableShape


def tables_of(database: Database, columns: Sequence[EncryptedColumn]) -> list[Work]:
    """Group columns by table and look at how each table is declared.

    Raises:
        Refused: a table that cannot be worked on, by name and with what to do.
    """
    names = dict.fromkeys(column.table for column in columns)
    return [_work(database, name, tuple(c for c in columns if c.table == name)) for name in names]


def _work(database: Database, name: str, columns: tuple[EncryptedColumn, ...]) -> Work:
    shape = database.shape(name)
    if shape.is_view:
        raise Refused(f"{name} is a view", hint="Name the table that it shows.")
    if shape.obstacle:
        raise Refused(f"the table {name} {shape.obstacle}", hint="Nothing was written.")
    if not shape.key:
        raise Refused(
            f"the table {name} has no primary key",
            hint="Add one: without it a row cannot be found again after a crash.",
        )
    for column in columns:
        _fits(shape, column)
    binary = frozenset(index for index, column in enumerate(columns) if column.stored_as == "binary")
    return Work(RowTable(name, shape.key, tuple(c.column for c in columns), binary=binary), columns, shape)


def _fits(shape: TableShape, column: EncryptedColumn) -> None:
    name = column.place
    declared = shape.columns.get(column.column)
    if declared is None:
        raise Refused(f"the column {name} is not in the database", hint="Migrate the database first; was it renamed?")
    if declared.generated:
        raise Refused(f"the column {name} is generated from others", hint="Encrypt the columns it is made of.")
    if column.stored_as == "binary" and not declared.binary:
        raise Refused(
            f"the column {name} is of the type {declared.type}, where the application stores bytes",
            hint="Change it with a migration first, and bring its values along as bytes.",
        )
    if column.stored_as == "text" and not declared.text:
        raise Refused(
            f"the column {name} is of the type {declared.type}, which does not hold a token",
            hint="Change it to text with a migration first.",
        )
    if column.column in shape.key:
        raise Refused(
            f"the column {name} is part of the primary key", hint="Tokens differ every time: a key cannot be one."
        )
    if column.column in shape.referenced:
        raise Refused(f"the column {name} has a foreign key", hint="Tokens differ every time: no row would match.")


def widths_of(work: Work) -> tuple[int | None, ...]:
    """The most characters or bytes each column may hold: the less of what the database and the application say."""
    return tuple(
        min((w for w in (work.shape.columns[c.column].width, c.width) if w is not None), default=None)
        for c in work.columns
    )


def as_declared(table: RowTable, shape: TableShape) -> RowTable:
    """The same of another copy of the database, where a column that holds bytes may still be one of text."""
    binary = frozenset(i for i, c in enumerate(table.columns) if c in shape.columns and holds_bytes(shape, c))
    return replace(table, binary=binary)


def holds_bytes(shape: TableShape, column: str) -> bool:
    """Whether a column holds bytes and nothing else."""
    return shape.columns[column].binary and not shape.columns[column].text


def ranges(database: Database, table: RowTable, rows: int) -> list[tuple[Key | None, Key | None]]:
    """A table of about so many rows in ranges of keys to work on side by side: after one key, up to the other."""
    every = max(_RANGE, -(-rows // _MOST_RANGES))
    ends = database.cut(table, every) if rows > every else []
    # what comes behind the last key of now belongs to the last range
    return list(pairwise([None, *ends[: (rows - 1) // every], None]))
