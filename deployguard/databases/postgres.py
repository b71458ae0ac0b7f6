"""PostgreSQL, by psycopg 3.

Sources: postgresql.org/docs/current: sql-select "The Locking Clause", transaction-iso "Read Committed
Isolation Level", runtime-config-query, runtime-config-client, libpq-connect.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.string import ByteaBinaryLoader

from deployguard.databases.base import (
    PREFIX,
    Changes,
    Condition,
    Gentle,
    Identity,
    Key,
    Page,
    Ready,
    RowTable,
    Sieve,
    TableShape,
    Value,
    within,
)  # fmt: skip
from deployguard.databases.postgres_catalog import KeyType, key_types, read_shape, read_tables
from deployguard.databases.postgres_errors import explaining
from deployguard.databases.postgres_residue import PostgresResidue
from deployguard.databases.postgres_swap import PostgresBatch, made_ready, name
from deployguard.databases.server import ServerState
from deployguard.databases.state import TABLES, dump_key, only_number, require_fence
from deployguard.databases.url import DatabaseUrl
from deployguard.errors import Refused

LOCK_WAIT = 10.0
"""Seconds to wait for a row or table that another session holds."""
_STATEMENT = 900
"""Seconds that one statement may take; the longest is the count of a large table."""
_IDLE = 60
"""Seconds that a batch may stand idle: if this machine hangs, its locks go."""
_ROWS_AT_ONCE = 500
_PORTION = 50 if psycopg.capabilities.has_stream_chunked() else 1

# A page or batch finds its rows by the key. The planner, which knows nothing of our temporary
# table, now and then prefers to read the whole table for each batch; these leave it no other way.
_BY_KEY = ("enable_seqscan", "enable_bitmapscan", "enable_sort", "enable_hashjoin", "enable_mergejoin")

_STATE = f"""
CREATE TABLE IF NOT EXISTS {PREFIX}fence (id int PRIMARY KEY CHECK (id = 1), fence bigint NOT NULL);
CREATE TABLE IF NOT EXISTS {PREFIX}checkpoint (
    operation text NOT NULL, name text NOT NULL, shard bigint NOT NULL, begins text, until text,
    number bigint NOT NULL, after text, changed bigint NOT NULL, total bigint NOT NULL, done boolean NOT NULL,
    PRIMARY KEY (operation, name, shard)
);
CREATE TABLE IF NOT EXISTS {PREFIX}kept (
    operation text NOT NULL, name text NOT NULL, field text NOT NULL, key text NOT NULL, digest bytea NOT NULL,
    PRIMARY KEY (operation, name, key, field)
)
"""


class Postgres(ServerState):
    """A PostgreSQL database; the tables are those that the user's search_path finds."""

    gentle = Gentle(rows=200, share=0.2, times=10)

    def __init__(self, where: DatabaseUrl, *, read_only: bool) -> None:
        """Connect.

        Raises:
            Refused: the server says no, or the database cannot be worked on.
            ConnectionLost: the server does not answer.
        """
        self._where = where
        self._read_only = read_only
        self._keys: dict[str, dict[str, KeyType]] = {}
        self._connection = self._open()

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        with self._explaining():
            connection = psycopg.connect(self._conninfo(), autocommit=True, prepare_threshold=None)
            try:
                connection.execute(self._session())
                self._check(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _conninfo(self) -> str:
        where, password = self._where, self._where.password
        given: dict[str, Any] = {
            "host": where.host or None, "port": where.port, "user": where.user or None,
            "dbname": where.database or None, "password": password.reveal() if password else None,
            "application_name": "deployguard", "connect_timeout": 10, "tcp_user_timeout": 30_000,
            # a server that vanished without a word is noticed within a minute, not two hours
            "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
            **where.options, "client_encoding": "UTF8",
        }  # fmt: skip
        return make_conninfo(**given)

    def _session(self) -> sql.SQL:
        settings = {
            "lock_timeout": int(LOCK_WAIT * 1000),
            "statement_timeout": _STATEMENT * 1000,
            "idle_in_transaction_session_timeout": _IDLE * 1000,
            "default_transaction_isolation": "'read committed'",
            "default_transaction_read_only": "on" if self._read_only else "off",
            # the text form of keys must read back as the same key
            "datestyle": "ISO", "intervalstyle": "postgres", "timezone": "UTC", "bytea_output": "hex",
            "extra_float_digits": "1", "client_min_messages": "warning",
            # rather an error than a table with rows missing
            "row_security": "off",
            # up to release 17 a plan that was turned down counts as dear enough to be compiled, for each batch anew
            "jit": "off",
            **dict.fromkeys(_BY_KEY, "off"),
        }  # fmt: skip
        return sql.SQL("; ".join(f"SET {key} = {value}" for key, value in settings.items()))

    def _check(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        facts = connection.execute("SELECT current_setting('server_encoding'), pg_is_in_recovery()").fetchone()
        encoding, standby = facts or ("", False)
        if encoding == "SQL_ASCII":
            raise Refused(
                f"the database {self._where.shown} has no encoding (SQL_ASCII)",
                hint="Tokens are made of UTF-8. Move the data to a database with the encoding UTF8.",
            )
        if standby and not self._read_only:
            raise Refused(f"{self._where.shown} is a standby, which is read-only", hint="Name the primary server.")

    def _live(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection.closed:
            self._connection = self._open()
        return self._connection

    def _explaining(self) -> AbstractContextManager[None]:
        return explaining(self._where.shown)

    def _all(self, query: str, values: Sequence[object] = (), *, planned: bool = False) -> list[tuple[Any, ...]]:
        with self._explaining():
            connection = self._live()
            with self._planned(connection) if planned else nullcontext():
                # binary: numbers come as numbers, bytes as bytes
                return connection.cursor(binary=True).execute(sql.SQL(query), values).fetchall()

    @contextmanager
    def _planned(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
        """A query that is not ours, or reads a whole table, is planned as the site plans."""
        with connection.transaction():
            connection.execute(sql.SQL("; ".join(f"SET LOCAL {s} TO DEFAULT" for s in _BY_KEY)))
            yield

    def identity(self) -> Identity:
        """The system identifier, which only initdb makes, where the user may read it; and the database's number."""
        version, base, number = self._all(
            "SELECT current_setting('server_version'), current_database()::text, oid::bigint"
            " FROM pg_database WHERE datname = current_database()"
        )[0]
        allowed = "has_function_privilege('pg_control_system()', 'execute')"
        server = "unknown"
        if self._all(f"SELECT {allowed}")[0][0]:
            server = str(self._all("SELECT system_identifier FROM pg_control_system()")[0][0])
        info = self._live().info
        return Identity("postgresql", version, f"{info.host}:{info.port}", base, f"{server}/{number}")

    def size(self) -> int:
        """Bytes of the database's files, the write-ahead log left out."""
        return int(self._all("SELECT pg_database_size(current_database())")[0][0])

    def folder(self) -> Path | None:
        """The server's data folder, which only some users are told."""
        allowed = self._all("SELECT pg_has_role(current_user, 'pg_read_all_settings', 'usage')")[0][0]
        return Path(self._all("SELECT current_setting('data_directory')")[0][0]) if allowed else None

    def number(self, query: str) -> float:
        """The one number that a query gives; it can change nothing."""
        with self._explaining():
            connection = self._live()
            with self._planned(connection):
                connection.execute("SET TRANSACTION READ ONLY")
                cursor = connection.execute(query.encode())
                return only_number(cursor.fetchmany(2) if cursor.description else [])

    def writes(self) -> int:
        """The first transaction number that none has had: only those that write get one."""
        return int(self._all("SELECT txid_snapshot_xmax(txid_current_snapshot())")[0][0])

    def lag(self) -> float | None:
        """Seconds since the last transaction that was replayed, or the start; 0 where nothing is left to replay."""
        found = self._all(
            "SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN NULL"
            " WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
            " ELSE extract(epoch FROM clock_timestamp()"
            " - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time())) END::float8"
        )
        return None if found[0][0] is None else float(found[0][0])

    def tables(self) -> list[str]:
        """Names of the application's tables."""
        return read_tables(self._all)

    def shape(self, table: str) -> TableShape:
        """How a table is declared."""
        return read_shape(self._all, table, self._where.shown)

    def count(self, table: str, where: Sequence[Condition] = ()) -> int:
        """Rows, at this moment."""
        only, values = self._only(RowTable(table, (), (), where=tuple(where)), None)
        return int(self._all(f"SELECT count(*) FROM {name(table)} AS t {only}", values, planned=not where)[0][0])

    def _types_of(self, table: str) -> dict[str, KeyType]:
        if table not in self._keys:
            self._keys[table] = key_types(self._all, table)
        return self._keys[table]

    def _types(self, table: RowTable) -> list[KeyType]:
        known = self._types_of(table.name)
        return [known[column] for column in table.key]

    def _only(self, table: RowTable, after: Key | None) -> tuple[str, tuple[Value, ...]]:
        """Which rows: those after a key, as far as the table goes."""
        conditions: list[str] = []
        values: tuple[Value, ...] = ()
        for key, operator in ((after, ">"), (table.until, "<=")):
            if key is not None:
                wanted = ", ".join(kind.value for kind in self._types(table))
                conditions.append(f"({_keys(table)}) {operator} ({wanted})")
                values += key
        for condition in table.where:
            wanted = self._types_of(table.name)[condition.column].value
            conditions.append(f"t.{name(condition.column)} {condition.operator} {wanted}")
            values += (condition.value,)
        if table.sieve is not None:
            worth, more = _worth(table, table.sieve)
            conditions.append(worth)
            values += more
        return f"WHERE {' AND '.join(conditions)}" if conditions else "", values

    def page(self, table: RowTable, after: Key | None, limit: int) -> Page:
        """Rows in key order, those after a key."""
        only, values = self._only(table, after)
        query = f"SELECT {self._columns(table)} FROM {name(table.name)} AS t {only} ORDER BY {_keys(table)} LIMIT %s"
        with self._explaining():
            # in portions, where libpq can; a stream that is not read to its end is cancelled
            cursor = self._reading()
            stream = cursor.stream(query.encode(), (*values, limit), size=_PORTION)
            try:
                return within(table, lambda: [*islice(stream, _PORTION)])
            finally:
                stream.close()  # type: ignore[attr-defined]  # it is a generator

    def cut(self, table: RowTable, every: int) -> list[Key]:
        """Keys that end ranges of `every` rows."""
        read = ", ".join(kind.read(f"t.{name(c)}") for c, kind in zip(table.key, self._types(table), strict=True))
        found: list[Key] = []
        while True:
            only, values = self._only(table, found[-1] if found else None)
            query = f"SELECT {read} FROM {name(table.name)} AS t {only} ORDER BY {_keys(table)} LIMIT 1 OFFSET %s"
            keys = self._all(query, (*values, every - 1))
            if not keys:
                return found
            found.append(keys[0])

    def rows(self, table: RowTable, keys: Sequence[Key]) -> Page:
        """The rows of some keys, as they are now."""
        found: list[tuple[Any, ...]] = []
        wanted = f"({', '.join(kind.value for kind in self._types(table))})"
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            some = keys[start : start + _ROWS_AT_ONCE]
            query = (
                f"SELECT {self._columns(table)} FROM {name(table.name)}"
                f" WHERE ({', '.join(map(name, table.key))}) IN ({', '.join([wanted] * len(some))})"
            )
            with self._explaining():
                found += self._reading().execute(query.encode(), [part for key in some for part in key]).fetchall()
        return Page.of(table, [*zip(*found, strict=True)])

    def _reading(self) -> psycopg.Cursor[tuple[Any, ...]]:
        """A cursor that gives texts as their bytes in UTF-8, whatever the server stores."""
        cursor = self._live().cursor(binary=True)
        # a conversion of each by the server would take longer than to find the row
        cursor.adapters.register_loader("text", ByteaBinaryLoader)
        return cursor

    def _columns(self, table: RowTable) -> str:
        keys = [kind.read(name(c)) for c, kind in zip(table.key, self._types(table), strict=True)]
        values = [name(c) if index in table.binary else f"{name(c)}::text" for index, c in enumerate(table.columns)]
        return ", ".join([*keys, *values])

    def _has_state(self) -> bool:
        return bool(self._all(f"SELECT to_regclass('{PREFIX}fence') IS NOT NULL")[0][0])

    def claim(self, fence: int) -> None:
        """Shut out every lower fencing token; waits for a batch of its holder to end."""
        with self._explaining():
            connection = self._live()
            with connection.transaction():
                # two at once would both find nothing there, and one would fail
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('deployguard'))")
                connection.execute(_STATE.encode())
                found = connection.execute(
                    f"INSERT INTO {PREFIX}fence AS f VALUES (1, %s) ON CONFLICT (id)"
                    " DO UPDATE SET fence = greatest(f.fence, excluded.fence) RETURNING fence",
                    (fence,),
                ).fetchone()
                require_fence(found[0] if found else None, fence, self._where.shown)

    def ready(self, table: RowTable, changes: Sequence[Changes]) -> Ready:
        """Changes for a batch to swap."""
        return made_ready(table, changes, self._types(table))

    @contextmanager
    def batch(self, fence: int) -> Iterator[PostgresBatch]:
        """A transaction under a fencing token; it holds the fence row, so that no claim passes meanwhile."""
        has_state = self._has_state()
        with self._explaining():
            connection = self._live()
            with connection.transaction():
                # no claim can pass while this row is locked
                found = (
                    connection.execute(f"SELECT fence FROM {PREFIX}fence FOR SHARE").fetchone() if has_state else None
                )
                require_fence(found[0] if found else None, fence, self._where.shown)
                yield PostgresBatch(connection, self._types)

    def kept(self, operation: str, table: RowTable, keys: Sequence[Key]) -> dict[tuple[str, Key], bytes]:
        """Those of some rows."""
        known = {dump_key(key): key for key in keys}
        found = self._all(
            f"SELECT field, key, digest FROM {PREFIX}kept WHERE operation = %s AND name = %s AND key = ANY(%s)",
            (operation, table.name, list(known)),
        )
        return {(column, known[key]): digest for column, key, digest in found}

    def forget(self) -> None:
        """Remove everything that deployguard keeps in this database."""
        with self._explaining():
            self._live().execute(f"DROP TABLE IF EXISTS {', '.join(PREFIX + table for table in TABLES)}".encode())

    def residue(self) -> PostgresResidue:
        """Dead rows, and the write-ahead log."""
        return PostgresResidue(self._all, self._unbounded, self.folder)

    def _unbounded(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """A command that takes as long as the table is large."""
        with self._explaining():
            connection = self._live()
            connection.execute("SET statement_timeout = 0")
            try:
                connection.execute(query.encode(), values)
            finally:
                if not connection.closed:
                    connection.execute(f"SET statement_timeout = {_STATEMENT * 1000}".encode())
        return []

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def _keys(table: RowTable) -> str:
    # t., since a bare name would mean the column of the answer, where keys are text and sort as text
    return ", ".join(f"t.{name(column)}" for column in table.key)


def _worth(table: RowTable, sieve: Sieve) -> tuple[str, tuple[Value, ...]]:
    either: list[str] = []
    values: tuple[Value, ...] = ()
    for index, column in enumerate(table.columns):
        # whatever the column's collation takes for equal, and whatever the type calls its length
        given = f"t.{name(column)}"
        # bytes as text, where those that are no character get longer and match no shape
        stored = f"encode({given}, 'escape') COLLATE \"C\"" if index in table.binary else f'{given}::text COLLATE "C"'
        if sieve.unlike:
            shape = f"octet_length({stored}) >= %s AND octet_length({stored}) %% %s = %s AND {stored} ~ %s"
            alike = " OR ".join([shape] * len(sieve.unlike))
            either.append(f"NOT ({alike})" + ("" if index in sieve.empty else f" AND {stored} <> ''"))
            values += tuple(part for each in sieve.unlike for part in each)
        if sieve.begins:
            either.append(f"left({stored}, {len(sieve.begins)}) = %s AND octet_length({stored}) >= {sieve.long}")
            values += (sieve.begins,)
        if sieve.longer and (most := sieve.longer[index]) is not None:
            exact = given if index in table.binary else f"convert_to({stored}, 'UTF8')"
            either.append(f"octet_length({exact}) > {most}")
    worth = f"({' OR '.join(either)})" if either else "false"
    if sieve.unless:
        # a row's xmin is the transaction that wrote it; an old row of the same number, billions later, was
        # looked at when the batch was made
        worth = f"t.xmin <> ALL ('{{{','.join(map(str, sieve.unless))}}}'::xid[]) AND {worth}"
    return worth, values
