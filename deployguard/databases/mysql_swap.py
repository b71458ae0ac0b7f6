"""Writing many rows of MariaDB or MySQL at once: a list of values joined to the table by its key."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import pymysql

from deployguard.databases.base import PREFIX, Change, Checkpoint, Kept, Key, Mark, Row, RowTable
from deployguard.databases.mysql_catalog import TableTypes
from deployguard.databases.state import CHECKPOINT, columns_of, dump_key, refuse_unstorable
from deployguard.errors import StepFailed

_STATEMENT = 1_000_000
"""Bytes of one statement: more brings nothing, and the server's max_allowed_packet ends it."""


class MysqlBatch:
    """Writes of one transaction."""

    def __init__(
        self,
        connection: "pymysql.Connection[Any]",
        types: Callable[[RowTable], TableTypes],
        rows: Callable[[RowTable, Sequence[Key]], list[Row]],
        *,
        packet: int,
        mariadb: bool,
    ) -> None:
        self._connection, self._types, self._rows = connection, types, rows
        self._most, self._row = min(_STATEMENT, packet // 2), b"(" if mariadb else b"ROW("

    def swap(self, table: RowTable, changes: Sequence[Change]) -> list[Key]:
        """Write each change whose old values are still there, compared byte by byte."""
        refuse_unstorable(table, changes, nul=True)
        alike: dict[tuple[int, ...], list[Change]] = defaultdict(list)
        for change in changes:
            alike[change.columns].append(change)
        lost: list[Key] = []
        for columns, group in alike.items():
            before, after = _update(table, columns, self._types(table))
            for some, values in self._statements(group):
                if self._write(b"".join((before, values, after)), table) != len(some):
                    lost += self._not_written(table, some)
        return lost

    def _statements(self, group: Sequence[Change]) -> Iterator[tuple[list[Change], bytes]]:
        """Changes as lists of values, each list as long as a statement may be."""
        some: list[Change] = []
        parts: list[bytes] = []
        size = 0
        for change in group:
            part = self._row + _literals(change)
            if some and size + len(part) > self._most:
                yield some, b",".join(parts)
                some, parts, size = [], [], 0
            some.append(change)
            parts.append(part)
            size += len(part)
        if some:
            yield some, b",".join(parts)

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

    def _not_written(self, table: RowTable, group: Sequence[Change]) -> list[Key]:
        there = {row.key: row.values for row in self._rows(table, [change.key for change in group])}
        return [c.key for c in group if c.key not in there or c.new != tuple(there[c.key][i] for i in c.columns)]

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


def name(identifier: str) -> str:
    """An identifier in SQL that PyMySQL looks for placeholders in."""
    return "`" + identifier.replace("`", "``").replace("%", "%%") + "`"


def kept_id(operation: str, table: str, column: str, key: Key) -> bytes:
    """The primary key of a value that is kept."""
    parts = (operation, table, column, dump_key(key) or "")
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _literals(change: Change) -> bytes:
    """Key, old and new values, and the bracket that ends them."""
    values = (*change.old, *change.new)
    text = b"".join(values)
    if b"'" not in text and b"\\" not in text and all(type(part) is int for part in change.key):
        # nearly every row, at a tenth of the time
        return _plain(len(change.key), len(values)) % (*change.key, *values)
    keys = [b"%d" % part if isinstance(part, int) else _literal(part) for part in change.key]
    return b",".join([*keys, *map(_literal, values)]) + b")"


@cache
def _plain(keys: int, values: int) -> bytes:
    return b",".join([b"%d"] * keys + [b"_binary'%b'"] * values) + b")"


def _literal(value: object) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    # tokens and most texts need no escaping; for the others, hexadecimal leaves no question open
    if b"'" in data or b"\\" in data:
        return b"x'" + data.hex().encode() + b"'"
    return b"_binary'" + data + b"'"


def _update(table: RowTable, columns: tuple[int, ...], types: TableTypes) -> tuple[bytes, bytes]:
    """The statement before and after its values.

    The values come first and the table is looked up by its primary key, whatever the optimizer thinks of it.
    """
    heads = [*(f"k{i}" for i in range(len(table.key))), *(f"{w}{i}" for w in "on" for i in range(len(columns)))]
    keys = [f"t.{name(c)} = {types.keys[c].joined(f'v.k{i}')}" for i, c in enumerate(table.key)]
    same = [f"{types.bytes_of(c, f't.{name(c)}')} = v.o{i}" for i, c in enumerate(table.columns[j] for j in columns)]
    put = [
        f"t.{name(table.columns[c])} = " + (f"v.n{i}" if c in table.binary else f"CONVERT(v.n{i} USING utf8mb4)")
        for i, c in enumerate(columns)
    ]
    before = f"UPDATE (WITH v ({', '.join(heads)}) AS (VALUES "
    after = (
        f") SELECT * FROM v) AS v STRAIGHT_JOIN {name(table.name)} AS t FORCE INDEX (PRIMARY)"
        f" ON {' AND '.join(keys)} SET {', '.join(put)} WHERE {' AND '.join(same)}"
    )
    # it is sent without parameters, so a percent sign in a name stands once
    return before.encode(), after.replace("%%", "%").encode()
