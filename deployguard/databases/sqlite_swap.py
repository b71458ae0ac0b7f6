"""Writing rows of SQLite: one prepared statement for all rows that change alike. Source: sqlite.org/lang_expr.html."""

import sqlite3
from collections.abc import Sequence

from deployguard.databases.base import PREFIX, Changes, Checkpoint, Kept, Key, Mark, Part, Ready, RowTable
from deployguard.databases.state import CHECKPOINT, columns_of, dump_key


class SqliteBatch:
    """Writes of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def swap(self, ready: Ready) -> list[Key]:
        """Write each change whose old values are still there, compared byte by byte."""
        lost: list[Key] = []
        for part in ready.parts:
            written = self._connection.executemany(_swap_sql(ready.table, part.changes.columns), part.sent).rowcount
            if written != len(part.changes):
                lost += self._not_written(ready.table, part.changes)
        return lost

    def _not_written(self, table: RowTable, changes: Changes) -> list[Key]:
        where = " AND ".join(f"{name(column)} = ?" for column in table.key)
        same = " AND ".join(f"CAST({name(table.columns[i])} AS BLOB) = ?" for i in changes.columns)
        sql = f"SELECT 1 FROM {name(table.name)} WHERE {where} AND {same}"
        return [key for key, _, new in changes if self._connection.execute(sql, (*key, *new)).fetchone() is None]

    def save(self, operation: str, table: str, checkpoint: Checkpoint) -> Mark | None:
        """Move the checkpoint of one of an operation's ranges."""
        self._connection.execute(
            f"INSERT OR REPLACE INTO {PREFIX}checkpoint (operation, name, {CHECKPOINT})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (operation, table, *columns_of(checkpoint)),
        )
        return None

    def keep(self, operation: str, table: str, kept: Sequence[Kept]) -> None:
        """Remember values that the undo must leave."""
        self._connection.executemany(
            f"INSERT OR IGNORE INTO {PREFIX}kept (operation, name, field, key, digest) VALUES (?, ?, ?, ?, ?)",
            [(operation, table, k.column, dump_key(k.key), k.digest) for k in kept],
        )


def made_ready(table: RowTable, changes: Sequence[Changes]) -> Ready:
    """Changes as lists of parameters."""
    return Ready(
        table, tuple(Part(c, [*zip(*c.new, *zip(*c.keys, strict=True), *c.old, strict=True)]) for c in changes)
    )


def _swap_sql(table: RowTable, columns: tuple[int, ...]) -> str:
    # the storage class is part of the value: what is written is text again, whatever its bytes, or bytes again
    kinds = ["BLOB" if i in table.binary else "TEXT" for i in columns]
    put = ", ".join(f"{name(table.columns[i])} = CAST(? AS {kind})" for i, kind in zip(columns, kinds, strict=True))
    key = " AND ".join(f"{name(column)} = ?" for column in table.key)
    same = " AND ".join(f"CAST({name(table.columns[i])} AS BLOB) = ?" for i in columns)
    return f"UPDATE {name(table.name)} SET {put} WHERE {key} AND {same}"


def name(identifier: str) -> str:
    """An identifier in SQL."""
    return '"' + identifier.replace('"', '""') + '"'
