"""Writing many rows of PostgreSQL at once: a binary COPY into a temporary table, then one UPDATE.

Source: postgresql.org/docs/current/sql-copy, "Binary Format".
"""

import struct
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import psycopg
from psycopg import sql

from deployguard.databases.base import PREFIX, Changes, Checkpoint, Kept, Key, Mark, Part, Ready, RowTable, Value
from deployguard.databases.postgres_catalog import KeyType
from deployguard.databases.state import CHECKPOINT, columns_of, dump_key, refuse_unstorable
from deployguard.woven import woven

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END = struct.pack(">h", -1)
_INTEGER = struct.Struct(">iq")
_LENGTH = struct.Struct(">i")


class PostgresBatch:
    """Writes of one transaction."""

    def __init__(
        self, connection: psycopg.Connection[tuple[Any, ...]], types: Callable[[RowTable], list[KeyType]]
    ) -> None:
        self._connection, self._types = connection, types
        self._filled = set[str]()

    def swap(self, ready: Ready) -> list[Key]:
        """Write each change whose old values are still there, compared byte by byte."""
        return [key for part in ready.parts for key in self._swap(ready.table, part)]

    def _swap(self, table: RowTable, part: Part) -> list[Key]:
        types, columns = self._types(table), part.changes.columns
        temporary = _temporary(table, types, columns)
        self._execute(_create(table, types, columns))
        if temporary in self._filled:
            # by another group of this transaction; its end empties them all, at a fraction of this
            self._execute(f"TRUNCATE {temporary}")
        self._filled.add(temporary)
        with self._connection.cursor().copy(_sql(f"COPY {temporary} FROM STDIN (FORMAT BINARY)")) as copy:
            copy.write(part.sent)
        written = self._execute(_update(table, columns, types)).rowcount
        return self._execute(_not_written(table, columns, types)).fetchall() if written != len(part.changes) else []

    def _execute(self, query: str) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(_sql(query), ())

    def save(self, operation: str, table: str, checkpoint: Checkpoint) -> Mark | None:
        """Move the checkpoint of one of an operation's ranges; rows say by their xmin which transaction wrote them."""
        found = self._connection.execute(
            f"INSERT INTO {PREFIX}checkpoint (operation, name, {CHECKPOINT})"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (operation, name, shard)"
            f" DO UPDATE SET ({CHECKPOINT}) = ({', '.join(f'excluded.{c}' for c in CHECKPOINT.split(', '))})"
            " RETURNING xmin::text::bigint",
            (operation, table, *columns_of(checkpoint)),
        ).fetchone()
        return int(found[0]) if found else None

    def keep(self, operation: str, table: str, kept: Sequence[Kept]) -> None:
        """Remember values that the undo must leave."""
        self._connection.cursor().executemany(
            f"INSERT INTO {PREFIX}kept (operation, name, field, key, digest) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [(operation, table, k.column, dump_key(k.key), k.digest) for k in kept],
        )


def made_ready(table: RowTable, changes: Sequence[Changes], types: Sequence[KeyType]) -> Ready:
    """Changes as COPY reads them."""
    refuse_unstorable(table, changes, nul=False)
    return Ready(table, tuple(Part(some, _binary(types, some)) for some in changes))


def name(identifier: str) -> str:
    """An identifier in SQL that psycopg looks for placeholders in."""
    return '"' + identifier.replace('"', '""').replace("%", "%%") + '"'


def _sql(text: str) -> sql.SQL:
    return sql.SQL(text)


def _temporary(table: RowTable, types: Sequence[KeyType], columns: tuple[int, ...]) -> str:
    # its shape is in its name: one for all tables whose keys and columns travel alike
    kinds = "".join("i" if kind.integer else "t" for kind in types)
    binary = "".join(f"_b{i}" for i, c in enumerate(columns) if c in table.binary)
    return f"pg_temp.{PREFIX}swap_{kinds}_{len(columns)}{binary}"


def _create(table: RowTable, types: Sequence[KeyType], columns: tuple[int, ...]) -> str:
    keys = [f"k{i} {'bigint' if kind.integer else 'text'}" for i, kind in enumerate(types)]
    values = [
        f"o{i} bytea, n{i} bytea" if c in table.binary else f'o{i} text COLLATE "C", n{i} text'
        for i, c in enumerate(columns)
    ]
    temporary = _temporary(table, types, columns).removeprefix("pg_temp.")
    return f"CREATE TEMPORARY TABLE IF NOT EXISTS {temporary} ({', '.join(keys + values)}) ON COMMIT DELETE ROWS"


def _same_key(table: RowTable, types: Sequence[KeyType]) -> str:
    pairs = enumerate(zip(table.key, types, strict=True))
    return " AND ".join(
        f"t.{name(column)} = v.k{i}{'' if kind.integer else f'::{kind.declared}'}" for i, (column, kind) in pairs
    )


def _holds(table: RowTable, columns: tuple[int, ...], which: str) -> str:
    # COLLATE "C" compares bytes, whatever a column's own collation takes for equal
    return " AND ".join(
        f"t.{name(table.columns[c])} = v.{which}{i}"
        if c in table.binary
        else f't.{name(table.columns[c])}::text COLLATE "C" = v.{which}{i} COLLATE "C"'
        for i, c in enumerate(columns)
    )


def _update(table: RowTable, columns: tuple[int, ...], types: Sequence[KeyType]) -> str:
    put = ", ".join(f"{name(table.columns[c])} = v.n{i}" for i, c in enumerate(columns))
    return (
        f"UPDATE {name(table.name)} AS t SET {put} FROM {_temporary(table, types, columns)} AS v"
        f" WHERE {_same_key(table, types)} AND {_holds(table, columns, 'o')}"
    )


def _not_written(table: RowTable, columns: tuple[int, ...], types: Sequence[KeyType]) -> str:
    keys = ", ".join(f"v.k{i}" for i in range(len(types)))
    return (
        f"SELECT {keys} FROM {_temporary(table, types, columns)} AS v"
        f" WHERE NOT EXISTS (SELECT FROM {name(table.name)} AS t"
        f" WHERE {_same_key(table, types)} AND {_holds(table, columns, 'n')})"
    )


def _binary(types: Sequence[KeyType], changes: Changes) -> bytes:
    """Rows of key, then old and new value of each column, as COPY reads them."""
    columns: list[Sequence[bytes]] = [[struct.pack(">h", len(types) + 2 * len(changes.columns))] * len(changes)]
    for part, kind in zip(zip(*changes.keys, strict=True), types, strict=True):
        columns += _integers(part) if kind.integer else _texts([str(each).encode() for each in part])
    for old, new in zip(changes.old, changes.new, strict=True):
        columns += (*_texts(old), *_texts(new))
    return b"".join((_HEADER, *woven(columns), _END))


def _integers(column: Sequence[Value]) -> tuple[list[bytes]]:
    return ([*map(_INTEGER.pack, repeat(8), column)],)


def _texts(column: Sequence[bytes]) -> tuple[list[bytes], Sequence[bytes]]:
    lengths = [*map(len, column)]
    # there are few different ones; of tokens, mostly one
    packed = {length: _LENGTH.pack(length) for length in {*lengths}}
    if len(packed) == 1:
        return [*packed.values()] * len(column), column
    return [*map(packed.__getitem__, lengths)], column
