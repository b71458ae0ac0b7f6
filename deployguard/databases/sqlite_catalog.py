"""What SQLite's schema says of a table. Sources: sqlite.org/pragma.html, /schematab.html."""

import re
import sqlite3

from deployguard.databases.base import ColumnShape, TableShape
from deployguard.databases.sqlite_swap import name
from deployguard.errors import Refused

_WIDTH = re.compile(r"\((\d+)\)")


def read_shape(connection: sqlite3.Connection, table: str, where: str) -> TableShape:
    """How a table is declared.

    Raises:
        Refused: it is not there.
    """
    kind = connection.execute(
        "SELECT type FROM sqlite_schema WHERE name = ? AND type IN ('table', 'view')", (table,)
    ).fetchone()
    if kind is None:
        raise Refused(
            f"there is no table {table} in {where}",
            hint="Migrate the database first; was the table renamed?",
        )
    columns, key = {}, {}
    for _, column, declared, not_null, _, position, hidden in connection.execute(f"PRAGMA table_xinfo({name(table)})"):
        width = _WIDTH.search(declared)
        # SQLite does not enforce the width it is given, but the application's other databases would
        columns[column] = ColumnShape(
            column,
            declared,
            int(width[1]) if width and "char" in declared.lower() else None,
            not not_null,
            hidden in {2, 3},
            # any column holds either
            binary=True,
        )
        if position:
            key[position] = column
    unique, indexed = _indexes(connection, table)
    referenced = {row[3] for row in connection.execute(f"PRAGMA foreign_key_list({name(table)})")}
    referenced |= _pointed_to(connection, table)
    triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (table,))
    return TableShape(
        table, columns, tuple(key[i] for i in sorted(key)), kind[0] == "view", frozenset(unique),
        frozenset(indexed), frozenset(referenced), tuple(row[0] for row in triggers),
    )  # fmt: skip


def _pointed_to(connection: sqlite3.Connection, table: str) -> set[str]:
    found = connection.execute(
        'SELECT f."to" FROM sqlite_schema s, pragma_foreign_key_list(s.name) f'
        ' WHERE s.type = \'table\' AND f."table" = ? COLLATE NOCASE AND f."to" IS NOT NULL',
        (table,),
    )
    return {row[0] for row in found}


def _indexes(connection: sqlite3.Connection, table: str) -> tuple[set[str], set[str]]:
    unique: set[str] = set()
    indexed: set[str] = set()
    for _, index, is_unique, origin, _ in connection.execute(f"PRAGMA index_list({name(table)})").fetchall():
        covered = {row[2] for row in connection.execute(f"PRAGMA index_info({name(index)})") if row[2]}
        indexed |= covered
        if is_unique and origin != "pk":
            unique |= covered
    return unique, indexed
