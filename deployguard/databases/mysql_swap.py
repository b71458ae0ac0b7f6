"""Writing many rows of MariaDB or MySQL at once: a list of values joined to the table by its key."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pymysql

from deployguard.databases.base import PREFIX, Changes, Checkpoint, Kept, Key, Mark, Page, Part, Ready, RowTable
from deployguard.databases.mysql_catalog import TableTypes
from deployguard.databases.mysql_values import Place, lists, places
from deployguard.databases.state import CHECKPOINT, columns_of, dump_key, refuse_unstorable
from deployguard.errors import StepFailed

_STATEMENT = 1_000_000
"""Bytes of one statement: more brings nothing, and the server's max_allowed_packet ends it."""


class MysqlBatch:
    """Writes of one transaction."""

    def __init__(self, connection: "pymysql.Connection[Any]", rows: Callable[[RowTable, Sequence[Key]], Page]) -> None:
        self._connection, self._rows = connection, rows

    def swap(self, ready: Ready) -> list[Key]:
        """Write each change whose old values are still there, compared byte by byte."""
        lost: list[Key] = []
        for part in ready.parts:
            if self._write(part.sent, ready.table) != len(part.changes):
                lost += self._not_written(ready.table, part.changes)
        return lost

    def _write(self, statement: bytes, table: RowTable) -> int:
        with self._connection.cursor() as cursor:
            found = cursor.execute(statement)
            if cursor.warning_count:
                codes = sorted({str(warning[1]) for warning in self._connection.show_warnings()})
                raise StepFailed(
                    f"{table.name}: the database warned ({', '.join(codes)}) and may have changed a value",
                    hint="Look at the table's columns, then resume: nothing of this batch was kept.",
                )
        return int(found)

    def _not_written(self, table: RowTable, changes: Changes) -> list[Key]:
        there = {row.key: tuple(row.values[i] for i in changes.columns) for row in self._rows(table, changes.keys)}
        return [key for key, _, new in changes if there.get(key) != new]

    def save(self, operation: str, table: str, checkpoint: Checkpoint) -> Mark | None:
        """Move the checkpoint of one of an operation's ranges."""
        put = ", ".join(f"{column} = VALUES({column})" for column in CHECKPOINT.split(", "))
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {PREFIX}checkpoint (operation, name, {CHECKPOINT})"
                f" VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE {put}",
                (operation, table, *columns_of(checkpoint)),
            )
        return None

    def keep(self, operation: str, table: str, kept: Sequence[Kept]) -> None:
        """Remember values that the undo must leave."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {PREFIX}kept VALUES (%s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE id = id",
                [
                    (kept_id(operation, table, k.column, k.key), operation, table, k.column, dump_key(k.key), k.digest)
                    for k in kept
                ],
            )


def made_ready(table: RowTable, changes: Sequence[Changes], types: TableTypes, *, packet: int, mariadb: bool) -> Ready:
    """Changes as statements, each no longer than the server takes."""
    refuse_unstorable(table, changes, nul=True)
    return Ready(
        table,
        tuple(
            Part(some, statement)
            for group in changes
            for some, statement in _statements(table, group, types, packet, b"(" if mariadb else b"ROW(")
        ),
    )


def _statements(
    table: RowTable, changes: Changes, types: TableTypes, packet: int, row: bytes
) -> Iterator[tuple[Changes, bytes]]:
    packed = places(changes)
    before, after = _update(table, changes.columns, types, packed)
    for some, values in lists(changes, row, packed, min(_STATEMENT, packet // 4)):
        yield some, b"".join((before, values, after))


def name(identifier: str) -> str:
    """An identifier in SQL that PyMySQL looks for placeholders in."""
    return "`" + identifier.replace("`", "``").replace("%", "%%") + "`"


def kept_id(operation: str, table: str, column: str, key: Key) -> bytes:
    """The primary key of a value that is kept."""
    parts = (operation, table, column, dump_key(key) or "")
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _update(
    table: RowTable, columns: tuple[int, ...], types: TableTypes, packed: Sequence[Place]
) -> tuple[bytes, bytes]:
    """The statement before and after its values.

    The values come first and the table is looked up by its primary key, whatever the optimizer thinks of it.
    """
    news = ["n"] if packed else [f"n{i}" for i in range(len(columns))]
    heads = [*(f"k{i}" for i in range(len(table.key))), "o", *news]
    keys = [f"t.{name(c)} = {types.keys[c].joined(f'v.k{i}')}" for i, c in enumerate(table.key)]
    stored = [types.bytes_of(c, f"t.{name(c)}") for c in (table.columns[j] for j in columns)]
    same = ", ".join(f"LENGTH({value}), ':', {value}" for value in stored)
    given = [_cut(place) for place in packed] or [f"v.{new}" for new in news]
    put = [
        f"t.{name(table.columns[c])} = " + (value if c in table.binary else f"CONVERT({value} USING utf8mb4)")
        for c, value in zip(columns, given, strict=True)
    ]
    before = f"UPDATE (WITH v ({', '.join(heads)}) AS (VALUES "
    after = (
        f") SELECT * FROM v) AS v STRAIGHT_JOIN {name(table.name)} AS t FORCE INDEX (PRIMARY)"
        f" ON {' AND '.join(keys)} SET {', '.join(put)} WHERE CONCAT({same}) = v.o"
    )
    # it is sent without parameters, so a percent sign in a name stands once
    return before.encode(), after.replace("%%", "%").encode()


def _cut(place: Place) -> str:
    value = f"SUBSTRING(v.n, {place.start + 1}, {place.size})"
    return f"RTRIM({value})" if place.filled else value
