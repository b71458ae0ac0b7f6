"""What the information schema of MariaDB and MySQL says of a table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployguard.databases.base import PREFIX, ColumnShape, TableShape
from deployguard.databases.server import Ask
from deployguard.errors import Refused

_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_STRINGS = {"char", "varchar"}
_BYTES = {"binary", "varbinary"}
_TEXTS = {"varchar", "tinytext", "text", "mediumtext", "longtext"}
_BLOBS = {"varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
"""Types that give back the bytes they were given; binary(n) fills them up."""
_CASTS = {"datetime": "DATETIME(6)", "timestamp": "DATETIME(6)", "date": "DATE", "time": "TIME(6)", "uuid": "UUID"}
# whose text becomes UTF-8 and back without a difference in any byte
_CHARSETS = {"utf8mb4", "utf8mb3", "utf8", "latin1", "ascii"}


@dataclass(frozen=True)
class KeyType:
    """How a column of a primary key travels: integers and bytes as they are, everything else as text."""

    kind: str
    charset: str | None
    collation: str | None
    cast: str | None

    @property
    def is_text(self) -> bool:
        """Whether it is compared as text, by its collation."""
        return self.charset is not None

    @property
    def value(self) -> str:
        """A parameter of this type."""
        return f"CAST(%s AS {self.cast})" if self.cast else "%s"

    def read(self, column: str) -> str:
        """An expression that gives a column's value."""
        return f"CAST({column} AS CHAR)" if self.cast else column

    def joined(self, column: str) -> str:
        """An expression that makes a column of given values comparable to the key, by its index."""
        if self.is_text:
            text = f"CONVERT(CONVERT({column} USING utf8mb4) USING {self.charset})"
            return f"{text} COLLATE {self.collation}"
        return f"CAST(CONVERT({column} USING utf8mb4) AS {self.cast})" if self.cast else column


@dataclass(frozen=True)
class TableTypes:
    """How the columns of a table travel."""

    keys: dict[str, KeyType]
    charsets: dict[str, str | None]

    def bytes_of(self, column: str, expression: str) -> str:
        """An expression that gives a value's bytes, in UTF-8 where it is text."""
        if self.charsets.get(column) in {None, "utf8mb4", "ascii"}:
            return f"CAST({expression} AS BINARY)"
        return f"CAST(CONVERT({expression} USING utf8mb4) AS BINARY)"


_HERE = "table_schema = DATABASE() AND table_name = %s"
_KEY = (
    "SELECT c.column_name, c.data_type, c.character_set_name, c.collation_name, c.numeric_precision, c.numeric_scale"
    " FROM information_schema.statistics s JOIN information_schema.columns c"
    " ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name"
    " WHERE s.table_schema = DATABASE() AND s.table_name = %s AND s.index_name = 'PRIMARY' ORDER BY s.seq_in_index"
)
_COLUMNS = (
    "SELECT column_name, column_type, data_type, character_set_name, character_maximum_length, is_nullable,"
    f" generation_expression FROM information_schema.columns WHERE {_HERE} ORDER BY ordinal_position"
)
_REFERENCED = (
    "SELECT CASE WHEN table_name = %s THEN column_name ELSE referenced_column_name END"
    " FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL"
    " AND (table_schema = DATABASE() AND table_name = %s"
    " OR referenced_table_schema = DATABASE() AND referenced_table_name = %s)"
)
_INDEXED = (
    f"SELECT column_name, non_unique = 0 AND index_name <> 'PRIMARY' FROM information_schema.statistics WHERE {_HERE}"
)
_TRIGGERS = (
    "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = DATABASE()"
    " AND event_object_table = %s AND event_manipulation = 'UPDATE' ORDER BY 1"
)
# MariaDB's JSON is a long text with a condition
_JSON = (
    "SELECT check_clause FROM information_schema.check_constraints"
    " WHERE constraint_schema = DATABASE() AND table_name = %s"
)
_TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    " AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY table_name"
)


def read_tables(ask: Callable[[str], list[tuple[Any, ...]]]) -> list[str]:
    """Names of the tables, in order, without deployguard's own."""
    return [row[0] for row in ask(_TABLES) if not row[0].startswith(PREFIX)]


def read_types(ask: Ask, table: str) -> TableTypes:
    """How the columns of a table travel.

    Raises:
        Refused: a column of the primary key is of a type that does not come back exactly.
    """
    keys = {row[0]: _key_type(table, *row) for row in ask(_KEY, (table,))}
    return TableTypes(keys, {row[0]: row[3] for row in ask(_COLUMNS, (table,))})


def _key_type(
    table: str,
    column: str,
    kind: str,
    charset: str | None,
    collation: str | None,
    digits: int | None,
    scale: int | None,
) -> KeyType:
    if kind in _INTEGERS | _BYTES or (kind in _STRINGS and charset in _CHARSETS):
        return KeyType(kind, charset, collation, None)
    cast = f"DECIMAL({digits}, {scale})" if kind == "decimal" else _CASTS.get(kind)
    if cast is None:
        raise Refused(
            f"the primary key column {table}.{column} is of the type {kind}" + (f" in {charset}" if charset else ""),
            hint="Such keys do not come back exactly. Give the table a key of integers, text, bytes or times.",
        )
    return KeyType(kind, None, None, cast)


def read_shape(ask: Ask, table: str, where: str, *, mariadb: bool) -> TableShape:
    """How a table is declared.

    Raises:
        Refused: it is not there.
    """
    kind = ask(f"SELECT table_type, engine FROM information_schema.tables WHERE {_HERE}", (table,))
    if not kind:
        raise Refused(f"there is no table {table} in {where}", hint="Migrate the database first; was it renamed?")
    checks = " ".join(row[0] for row in ask(_JSON, (table,))) if mariadb else ""
    columns = [_column(*row, json=f"json_valid(`{row[0]}`)" in checks) for row in ask(_COLUMNS, (table,))]
    indexed = ask(_INDEXED, (table,))
    return TableShape(
        table,
        {column.name: column for column in columns},
        tuple(row[0] for row in ask(_KEY, (table,))),
        is_view=kind[0][0] == "VIEW",
        unique=frozenset(column for column, unique in indexed if column and unique),
        indexed=frozenset(column for column, _ in indexed if column),
        referenced=frozenset(row[0] for row in ask(_REFERENCED, (table, table, table))),
        triggers=tuple(row[0] for row in ask(_TRIGGERS, (table,))),
        obstacle=_obstacle(*kind[0]),
    )


def _obstacle(kind: str, engine: str | None) -> str:
    if kind == "SYSTEM VERSIONED":
        return "keeps every old value in its history: drop its system versioning first"
    if engine is not None and engine.lower() != "innodb":
        return f"is stored by {engine}, which has no transactions: change it to InnoDB first"
    return ""


def _column(
    column: str, declared: str, kind: str, charset: str | None, width: int | None, nullable: str, generated: str | None,
    *, json: bool,
) -> ColumnShape:  # fmt: skip
    text = kind in _TEXTS and charset in _CHARSETS and not json
    declared = "json" if json else declared if kind not in _TEXTS or text else f"{declared} in {charset}"
    binary = kind in _BLOBS
    return ColumnShape(
        column, declared, width if text or binary else None, nullable == "YES", bool(generated), text, binary
    )
