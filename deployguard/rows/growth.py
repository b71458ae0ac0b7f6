"""How much larger columns become once every value is a token: from the rows that are there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deployguard.databases.base import Database
from deployguard.databases.measure import bytes_of
from deployguard.keys.tokens import token_forms, token_length
from deployguard.rows.spread import spread
from deployguard.rows.tables import as_declared

_READ = 100_000
"""Rows of each table that are read; what they say is taken for all of its rows."""


@dataclass(frozen=True)
class Growth:
    """What encrypting some columns adds.

    Attributes:
        values: that are to become tokens, about.
        read: rows that were read, of about `rows`.
        more: bytes that the tokens have more than the values.
        tables: bytes of the tables with their indexes: databases keep old rows beside new ones for a while.
    """

    values: int
    read: int
    rows: int
    more: int
    tables: int


def growth(database: Database, columns: Sequence[tuple[str, str]]) -> Growth:
    """Read some rows of each table, from all over it, and reckon with all.

    Args:
        database: a read-only connection will do.
        columns: table and column of each.

    Raises:
        Refused: a table is not there, or cannot be paged through.
    """
    engine = database.identity().engine
    values = read = rows = more = tables = 0
    for table in dict.fromkeys(table for table, _ in columns):
        shape = database.shape(table)
        names = tuple(column for of, column in columns if of == table and column in shape.columns)
        looked = spread(database, engine, shape, shape.key, names)
        looked = replace(looked, table=as_declared(looked.table, shape))
        plain = added = seen = 0
        for page in looked.pages(_READ):
            seen += len(page)
            held = [value for column in page.columns for value in column if value]
            sizes = [len(v) for v, form in zip(held, token_forms(held), strict=True) if form is None]
            plain += len(sizes)
            added += sum(token_length(size) - size for size in sizes)
        total = max(looked.total, seen) if seen >= _READ else seen
        values += plain * total // max(seen, 1)
        more += added * total // max(seen, 1)
        read, rows, tables = read + seen, rows + total, tables + (bytes_of(database, engine, table) or 0)
    return Growth(values, read, rows, more, tables)
