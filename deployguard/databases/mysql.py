"""MariaDB and MySQL, by PyMySQL; InnoDB tables only. Tested with MariaDB.

Sources: mariadb.com/kb: sql-mode, set-transaction, lock-in-share-mode, innodb-system-variables;
dev.mysql.com/doc/refman/8.4/en: information-schema, innodb-locking-reads.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor, SSCursor

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
from deployguard.databases.mysql_catalog import TableTypes, read_shape, read_tables, read_types
from deployguard.databases.mysql_errors import explaining
from deployguard.databases.mysql_residue import MysqlResidue
from deployguard.databases.mysql_swap import MysqlBatch, kept_id, made_ready, name
from deployguard.databases.server import ServerState
from deployguard.databases.state import TABLES, dump_key, only_number, require_fence
from deployguard.databases.url import DatabaseUrl
from deployguard.errors import Refused

LOCK_WAIT = 10.0
"""Seconds to wait for a row or table that another session holds; whole ones, at least 1."""
_STATEMENT = 900
"""Seconds that one statement may take; the longest is the count of a large table."""
_ROWS_AT_ONCE = 200
_PORTION = 50
_OPTIONS = {"unix_socket", "ssl_ca", "ssl_cert", "ssl_key"}
_IGNORED = {"charset"}
_WRITES = tuple(
    f"Com_{verb}"
    for verb in (
        "insert", "insert_select", "replace", "replace_select", "update", "update_multi", "delete", "delete_multi",
        "load",
    )
)  # fmt: skip
# each statement commits by itself: the fence is made last and dropped first, so that where it stands, all stand
_STATE = (
    """checkpoint (
        operation varchar(255) NOT NULL, name varchar(64) NOT NULL, shard int NOT NULL, begins longtext, until longtext,
        number bigint NOT NULL, after longtext, changed bigint NOT NULL, total bigint NOT NULL, done boolean NOT NULL,
        PRIMARY KEY (operation, name, shard)
    )""",
    # a digest as key: the four columns together are wider than a key may be
    """kept (
        id binary(32) PRIMARY KEY, operation varchar(255) NOT NULL, name varchar(64) NOT NULL,
        field varchar(64) NOT NULL, place longtext NOT NULL, digest blob NOT NULL, KEY (operation, name)
    )""",
    "fence (id int PRIMARY KEY, fence bigint NOT NULL)",
)
_KIND = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"


class Mysql(ServerState):
    """A database of a MariaDB or MySQL server."""

    gentle = Gentle(rows=100, share=0.2, times=7)

    def __init__(self, where: DatabaseUrl, *, read_only: bool) -> None:
        """Connect.

        Raises:
            Refused: the server says no.
            ConnectionLost: the server does not answer.
        """
        if strange := where.options.keys() - _OPTIONS - _IGNORED:
            raise Refused(
                f"the database URL has options that are not known: {', '.join(sorted(strange))}",
                hint=f"Known are {', '.join(sorted(_OPTIONS))}.",
            )
        self._where = where
        self._allowed = "ONLY" if read_only else "WRITE"
        self._types: dict[str, TableTypes] = {}
        self._connection = self._open()

    def _open(self, *, bounded: bool = True) -> "pymysql.Connection[Any]":
        where, password = self._where, self._where.password
        with self._explaining():
            connection: pymysql.Connection[Any] = pymysql.connect(
                host=where.host or "localhost", port=where.port or 3306, user=where.user or None,
                password=password.reveal() if password else "", database=where.database or None, charset="utf8mb4",
                autocommit=True, connect_timeout=10,
                read_timeout=_STATEMENT + 60 if bounded else None, write_timeout=120,
                client_flag=CLIENT.FOUND_ROWS, program_name="deployguard",
                **{key: value for key, value in where.options.items() if key in _OPTIONS},
            )  # fmt: skip
            try:
                self._prepare(connection, _STATEMENT if bounded else 0)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: "pymysql.Connection[Any]", seconds: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION(), @@binlog_format, @@log_bin, @@max_allowed_packet")
            version, form, logged, packet = cursor.fetchone()
            self._is_mariadb, self._packet = "MariaDB" in version, packet
            wait = max(1, round(LOCK_WAIT))
            # a lax site cuts what is too long and goes on; we never may
            cursor.execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'")
            cursor.execute("SET SESSION time_zone = '+00:00'")
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {wait}, SESSION lock_wait_timeout = {wait}")
            limit = f"max_statement_time = {seconds}" if self._is_mariadb else f"max_execution_time = {seconds}000"
            cursor.execute(f"SET SESSION {limit}")
            if not (logged and form == "STATEMENT"):
                # without gap locks, which would hold up others' inserts; a log of statements needs those
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(f"SET SESSION TRANSACTION READ {self._allowed}")

    def _live(self) -> "pymysql.Connection[Any]":
        if not self._connection.open:
            self._connection = self._open()
        return self._connection

    def _explaining(self) -> AbstractContextManager[None]:
        return explaining(self._where.shown)

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._explaining(), self._live().cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    @contextmanager
    def _transaction(self) -> "Iterator[pymysql.Connection[Any]]":
        with self._explaining():
            connection = self._live()
            try:
                connection.begin()
                yield connection
                connection.commit()
            except BaseException:
                if connection.open:
                    _roll_back(connection)
                raise

    def identity(self) -> Identity:
        """The server's own unique number, where the product has one."""
        version, host, port, base, number = self._all("SELECT VERSION(), @@hostname, @@port, DATABASE(), @@server_id")[
            0
        ]
        own = self._all("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uid', 'server_uuid')")
        server = own[0][1] if own else number
        return Identity("mariadb" if self._is_mariadb else "mysql", version, f"{host}:{port}", base, str(server))

    def size(self) -> int:
        """Bytes of the tables and indexes, as the server estimates them; its logs are left out."""
        found = self._all(
            "SELECT sum(data_length + index_length + data_free) FROM information_schema.tables"
            " WHERE table_schema = DATABASE()"
        )
        return int(found[0][0] or 0)

    def folder(self) -> Path:
        """The server's data folder."""
        return Path(str(self._all("SELECT @@datadir")[0][0]))

    def number(self, query: str) -> float:
        """The one number that a query gives; it can change nothing."""
        with self._explaining(), self._live().cursor() as cursor:
            # of the session, not of one transaction: a DROP TABLE would end that and go on
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            try:
                cursor.execute(query)
                return only_number(list(cursor.fetchmany(2)) if cursor.description else [])
            finally:
                cursor.execute(f"SET SESSION TRANSACTION READ {self._allowed}")

    def writes(self) -> int:
        """Statements of all sessions since the server began that write rows."""
        return sum(int(row[1]) for row in self._all("SHOW GLOBAL STATUS WHERE Variable_name IN %s", (_WRITES,)))

    def lag(self) -> float | None:
        """What the slowest of its channels says."""
        with self._explaining(), self._live().cursor(DictCursor) as cursor:
            cursor.execute("SHOW ALL SLAVES STATUS" if self._is_mariadb else "SHOW REPLICA STATUS")
            lags = [row.get("Seconds_Behind_Master", row.get("Seconds_Behind_Source")) for row in cursor.fetchall()]
        return None if not lags or None in lags else float(max(lags))

    def tables(self) -> list[str]:
        """Names of the application's tables."""
        return read_tables(self._all)

    def shape(self, table: str) -> TableShape:
        """How a table is declared."""
        return read_shape(self._all, table, self._where.shown, mariadb=self._is_mariadb)

    def count(self, table: str, where: Sequence[Condition] = ()) -> int:
        """Rows, at this moment."""
        only, values = self._only(RowTable(table, (), (), where=tuple(where)), None)
        return int(self._all(f"SELECT count(*) FROM {name(table)} {only}", values)[0][0])

    def _types_of(self, table: RowTable) -> TableTypes:
        if table.name not in self._types:
            self._types[table.name] = read_types(self._all, table.name)
        return self._types[table.name]

    def page(self, table: RowTable, after: Key | None, limit: int) -> Page:
        """Rows in key order, those after a key."""
        only, values = self._only(table, after)
        query = f"{self._select(table)} {only} ORDER BY {_keys(table)} LIMIT %s"
        # unbuffered: what is not taken any more is read over when the cursor closes
        with self._explaining(), self._live().cursor(SSCursor) as cursor:
            cursor.execute(query, (*values, limit))
            return within(table, lambda: cursor.fetchmany(_PORTION))

    def cut(self, table: RowTable, every: int) -> list[Key]:
        """Keys that end ranges of `every` rows."""
        bare = replace(table, columns=())
        found: list[Key] = []
        while True:
            only, values = self._only(table, found[-1] if found else None)
            keys = self._all(
                f"{self._select(bare)} {only} ORDER BY {_keys(table)} LIMIT 1 OFFSET %s", (*values, every - 1)
            )
            if not keys:
                return found
            found.append(keys[0])

    def _only(self, table: RowTable, after: Key | None) -> tuple[str, tuple[Value, ...]]:
        """Which rows: those after a key, as far as the table goes."""
        conditions: list[str] = []
        values: tuple[Value, ...] = ()
        for key, operators in ((after, (">", ">")), (table.until, ("<", "<="))):
            if key is not None:
                text, more = self._beside(table, key, *operators)
                conditions.append(text)
                values += more
        for condition in table.where:
            wanted = self._types_of(table).keys[condition.column].value
            conditions.append(f"{name(condition.column)} {condition.operator} {wanted}")
            values += (condition.value,)
        if table.sieve is not None:
            worth, more = self._worth(table, table.sieve)
            conditions.append(worth)
            values += more
        return f"WHERE {' AND '.join(conditions)}" if conditions else "", values

    def _worth(self, table: RowTable, sieve: Sieve) -> tuple[str, tuple[Value, ...]]:
        types, either = self._types_of(table), list[str]()
        values: tuple[Value, ...] = ()
        for index, column in enumerate(table.columns):
            # of bytes no collation takes different ones for equal
            stored = types.bytes_of(column, name(column))
            if sieve.unlike:
                shape = f"LENGTH({stored}) >= %s AND LENGTH({stored}) %% %s = %s AND {stored} REGEXP %s"
                alike = " OR ".join([shape] * len(sieve.unlike))
                either.append(f"NOT ({alike})" + ("" if index in sieve.empty else f" AND {stored} <> ''"))
                values += tuple(part for each in sieve.unlike for part in each)
            if sieve.begins:
                either.append(f"LEFT({stored}, {len(sieve.begins)}) = %s AND LENGTH({stored}) >= {sieve.long}")
                values += (sieve.begins.encode(),)
            if sieve.longer and (most := sieve.longer[index]) is not None:
                either.append(f"LENGTH({stored}) > {most}")
        return f"({' OR '.join(either)})" if either else "FALSE", values

    def _beside(self, table: RowTable, key: Key, differs: str, last: str) -> tuple[str, tuple[Value, ...]]:
        # written out, since a comparison of whole rows is not looked up in the index
        kinds = self._types_of(table).keys
        either: list[str] = []
        values: tuple[Value, ...] = ()
        for place, column in enumerate(table.key):
            same = [f"{name(c)} = {kinds[c].value}" for c in table.key[:place]]
            operator = last if place == len(table.key) - 1 else differs
            either.append(" AND ".join([*same, f"{name(column)} {operator} {kinds[column].value}"]))
            values += key[: place + 1]
        return f"(({') OR ('.join(either)}))", values

    def rows(self, table: RowTable, keys: Sequence[Key]) -> Page:
        """The rows of some keys, as they are now."""
        kinds = self._types_of(table).keys
        one = " AND ".join(f"{name(column)} = {kinds[column].value}" for column in table.key)
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            some = keys[start : start + _ROWS_AT_ONCE]
            query = f"{self._select(table)} WHERE ({') OR ('.join([one] * len(some))})"
            found += self._all(query, [part for key in some for part in key])
        return Page.of(table, [*zip(*found, strict=True)])

    def _select(self, table: RowTable) -> str:
        types = self._types_of(table)
        keys = [types.keys[column].read(name(column)) for column in table.key]
        columns = ", ".join([*keys, *(types.bytes_of(column, name(column)) for column in table.columns)])
        return f"SELECT {columns} FROM {name(table.name)} FORCE INDEX (PRIMARY)"

    def _has_state(self) -> bool:
        found = self._all(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
            (f"{PREFIX}fence",),
        )
        return bool(found)

    def claim(self, fence: int) -> None:
        """Shut out every lower fencing token; waits for a batch of its holder to end."""
        if not self._has_state():
            for statement in _STATE:
                self._all(f"CREATE TABLE IF NOT EXISTS {PREFIX}{statement}{_KIND}")
        with self._transaction() as connection, connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {PREFIX}fence VALUES (1, %s) ON DUPLICATE KEY UPDATE fence = greatest(fence, %s)",
                (fence, fence),
            )
            cursor.execute(f"SELECT fence FROM {PREFIX}fence FOR UPDATE")
            require_fence(cursor.fetchone()[0], fence, self._where.shown)

    def ready(self, table: RowTable, changes: Sequence[Changes]) -> Ready:
        """Changes for a batch to swap."""
        return made_ready(table, changes, self._types_of(table), packet=self._packet, mariadb=self._is_mariadb)

    @contextmanager
    def batch(self, fence: int) -> Iterator[MysqlBatch]:
        """A transaction under a fencing token; it holds the fence row, so that no claim passes meanwhile."""
        has_state = self._has_state()
        with self._transaction() as connection:
            found = None
            if has_state:
                found = self._all(f"SELECT fence FROM {PREFIX}fence LOCK IN SHARE MODE")
            require_fence(found[0][0] if found else None, fence, self._where.shown)
            yield MysqlBatch(connection, self.rows)

    def kept(self, operation: str, table: RowTable, keys: Sequence[Key]) -> dict[tuple[str, Key], bytes]:
        """Those of some rows."""
        found: dict[tuple[str, Key], bytes] = {}
        for start in range(0, len(keys), _ROWS_AT_ONCE):
            known = {dump_key(key): key for key in keys[start : start + _ROWS_AT_ONCE]}
            ids = [kept_id(operation, table.name, c, key) for key in known.values() for c in table.columns]
            query = f"SELECT field, place, digest FROM {PREFIX}kept WHERE id IN ({', '.join(['%s'] * len(ids))})"
            found |= {(column, known[key]): digest for column, key, digest in self._all(query, ids)}
        return found

    def forget(self) -> None:
        """Remove everything that deployguard keeps in this database."""
        self._all(f"DROP TABLE IF EXISTS {', '.join(PREFIX + table for table in reversed(TABLES))}")

    def residue(self) -> MysqlResidue:
        """Free pages, undo, redo and binary logs."""
        return MysqlResidue(self._all, self._unbounded, self.folder)

    def _unbounded(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """A command that takes as long as the table is large, over a connection that waits for it."""
        connection = self._open(bounded=False)
        try:
            with self._explaining(), connection.cursor() as cursor:
                cursor.execute(query, values or None)
                return list(cursor.fetchall())
        finally:
            if connection.open:
                connection.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection.open:
            self._connection.close()


def _roll_back(connection: "pymysql.Connection[Any]") -> None:
    try:
        connection.rollback()
    except pymysql.Error:
        # what the server could not be told any more, it does by itself when the connection is gone
        connection._force_close()  # noqa: SLF001 - close() would speak to the server again


def _keys(table: RowTable) -> str:
    return ", ".join(map(name, table.key))
