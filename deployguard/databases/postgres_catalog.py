"""What PostgreSQL's catalog says of a table. Sources: postgresql.org/docs/current/catalogs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deployguard.databases.base import PREFIX, ColumnShape, TableShape
from deployguard.databases.server import Ask
from deployguard.errors import Refused


@dataclass(frozen=True)
class KeyType:
    """How a column of a primary key travels: integers as they are, everything else in its text form."""

    declared: str
    """The type as SQL writes it, with its schema where needed."""
    integer: bool

    @property
    def value(self) -> str:
        """A parameter of this type."""
        return f"%s::{self.declared}"

    def read(self, column: str) -> str:
        """An expression that gives a column's value; its type is not that of the values, which are read as bytes."""
        return column if self.integer else f"{column}::text::varchar"


# a name as Django writes it: found by the search_path, never taken apart at dots
_TABLE = "to_regclass(quote_ident(%s))"
_TEXTS = "('text', 'varchar', 'citext')"
_COLUMNS = f"""
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, a.atttypid AS declared, a.atttypmod AS declared_mod, a.atttypid AS type,
           a.atttypmod AS mod, NOT a.attnotnull AS nullable, a.attgenerated <> '' AS generated
    FROM pg_attribute a WHERE a.attrelid = {_TABLE} AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attnum, b.attname, b.declared, b.declared_mod, t.typbasetype, t.typtypmod, b.nullable, b.generated
    FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
)
SELECT b.attname::text, format_type(b.declared, b.declared_mod),
       CASE WHEN t.typname = 'varchar' AND b.mod > 4 THEN b.mod - 4 END,
       b.nullable, b.generated, t.typname IN {_TEXTS}, t.typname = 'bytea'
FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype <> 'd' ORDER BY b.attnum
"""
_KEY = f"""
-- -1 and not NULL: "bpchar", where "character" would mean one character
SELECT a.attname::text, format_type(a.atttypid, -1), a.atttypid IN (20, 21, 23)
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = {_TABLE} AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place
"""
# by what an index depends on, so that expressions and conditions count too
_INDEXED = f"""
SELECT DISTINCT a.attname::text, i.indisunique AND NOT i.indisprimary
FROM pg_index i
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
    OR d.classid = 'pg_constraint'::regclass AND d.refobjid = i.indrelid
    AND d.objid IN (SELECT c.oid FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = i.indrelid)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
WHERE i.indrelid = {_TABLE} AND d.refobjsubid > 0
"""
_REFERENCED = f"""
SELECT a.attname::text FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.contype = 'f' AND c.conrelid = {_TABLE}
UNION
SELECT a.attname::text FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey)
WHERE c.contype = 'f' AND c.confrelid = {_TABLE}
"""
_UPDATE = 16
_TRIGGERS = f"""
SELECT tgname::text FROM pg_trigger
WHERE tgrelid = {_TABLE} AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & {_UPDATE} <> 0 ORDER BY 1
"""
_TABLES = f"""
SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND pg_table_is_visible(oid)
AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
AND relpersistence <> 't' AND NOT starts_with(relname, '{PREFIX}') ORDER BY 1
"""


def read_tables(ask: Callable[[str], list[tuple[Any, ...]]]) -> list[str]:
    """Names of the tables that the search_path finds, in order, without deployguard's own and partitions."""
    return [row[0] for row in ask(_TABLES)]


def key_types(ask: Ask, table: str) -> dict[str, KeyType]:
    """The primary key's columns, in order, and their types."""
    return {column: KeyType(declared, integer) for column, declared, integer in ask(_KEY, (table,))}


def read_shape(ask: Ask, table: str, where: str) -> TableShape:
    """How a table is declared.

    Raises:
        Refused: it is not there.
    """
    kind = ask(f"SELECT relkind::text FROM pg_class WHERE oid = {_TABLE}", (table,))
    if not kind:
        raise Refused(f"there is no table {table} in {where}", hint="Migrate the database first; was it renamed?")
    columns = [ColumnShape(*row) for row in ask(_COLUMNS, (table,))]
    indexed = ask(_INDEXED, (table,))
    return TableShape(
        table,
        {column.name: column for column in columns},
        tuple(key_types(ask, table)),
        is_view=kind[0][0] in {"v", "m"},
        unique=frozenset(column for column, unique in indexed if unique),
        indexed=frozenset(column for column, _ in indexed),
        referenced=frozenset(row[0] for row in ask(_REFERENCED, (table, table))),
        triggers=tuple(row[0] for row in ask(_TRIGGERS, (table,))),
    )
