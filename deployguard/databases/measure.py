"""How large a table is and how far its keys go: each answer is one query that changes nothing.

Sources: postgresql.org/docs/current: catalog-pg-class (reltuples), functions-admin "Database Object
Size Functions"; mariadb.com/kb and dev.mysql.com/doc: "Information Schema TABLES Table";
sqlite.org/dbstat.html.
"""

import re

from deployguard.databases.base import Database
from deployguard.errors import DeployguardError

_COUNTED = 200_000
"""Rows that are counted one by one where nothing is known of a table; more are told as so many."""
_INTEGER = re.compile(r"(?:tiny|small|medium|big)?(?:int(?:eger)?|serial)\d?(?:\(\d+\))?(?: unsigned)?", re.IGNORECASE)


def quoted(engine: str, identifier: str) -> str:
    """An identifier in SQL that no driver looks for placeholders in."""
    mark = '"' if engine in {"postgresql", "sqlite"} else "`"
    return mark + identifier.replace(mark, mark * 2) + mark


def literal(engine: str, text: str) -> str:
    """A text in SQL: a name, never a value of a row."""
    escaped = text if engine in {"postgresql", "sqlite"} else text.replace("\\", "\\\\")
    return "'" + escaped.replace("'", "''") + "'"


def rows_about(database: Database, engine: str, table: str) -> int:
    """Rows as the catalog estimates them; counted where it does not know, up to 200,000."""
    known = _asked(database, _ROWS[engine].format(literal(engine, table))) if engine in _ROWS else None
    if known is not None and known > 0:
        return int(known)
    some = f"SELECT 1 FROM {quoted(engine, table)} LIMIT {_COUNTED}"
    return int(_asked(database, f"SELECT count(*) FROM ({some}) AS some") or 0)


def bytes_of(database: Database, engine: str, table: str) -> int | None:
    """Bytes of a table with its indexes; None where the product does not tell."""
    size = _asked(database, _BYTES[engine].format(literal(engine, table)))
    return None if size is None else int(size)


def is_whole(declared: str) -> bool:
    """Whether a column's type holds whole numbers."""
    return _INTEGER.fullmatch(declared) is not None


def extent(database: Database, engine: str, table: str, key: str) -> tuple[int, int] | None:
    """The least and the greatest of a column of whole numbers; None where there is no row."""
    column, name = quoted(engine, key), quoted(engine, table)
    # without a row min() is NULL, which is no number
    first, last = (_asked(database, f"SELECT {of}({column}) FROM {name}") for of in ("min", "max"))
    return None if first is None or last is None else (int(first), int(last))


def materialized_views(database: Database, engine: str) -> int:
    """Views of PostgreSQL that keep what they show; they have no key."""
    if engine != "postgresql":
        return 0
    visible = "relkind = 'm' AND pg_table_is_visible(oid)"
    return int(_asked(database, f"SELECT count(*) FROM pg_class WHERE {visible}") or 0)


_ROWS = {
    "postgresql": "SELECT reltuples FROM pg_class WHERE oid = to_regclass(quote_ident({}))",
    **dict.fromkeys(
        ("mariadb", "mysql"),
        "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = {}",
    ),
}
_BYTES = {
    "postgresql": "SELECT pg_total_relation_size(to_regclass(quote_ident({})))",
    **dict.fromkeys(
        ("mariadb", "mysql"),
        "SELECT data_length + index_length FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = {}",
    ),
    "sqlite": "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = {})",
}


def _asked(database: Database, query: str) -> float | None:
    try:
        return database.number(query)
    except DeployguardError:
        return None
