"""MariaDB and MySQL: the product's own dump beside a snapshot of ours, and a swap by one RENAME TABLE.

Sources: mariadb.com/kb: mariadb-dump, start-transaction, lock-tables, rename-table, mariadb-command-line-client.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pymysql
from pymysql.converters import encoders

from deployguard.backup import tools
from deployguard.backup.base import Facts, Loss, Pulse, Source
from deployguard.backup.mysql_facts import (
    ask,
    besides,
    columns_of,
    counters_of,
    facts_of,
    loss_between,
    name,
    refuse_undumpable,
    tables_of,
)
from deployguard.backup.mysql_stream import SANDBOX, ForCopy, Resumed, until_begun
from deployguard.backup.naming import MARK, fitting, not_ours
from deployguard.backup.server import ServerProduct
from deployguard.databases.base import PREFIX
from deployguard.databases.mysql import Mysql as Database
from deployguard.databases.mysql_errors import explaining
from deployguard.errors import Refused

_LOCK_WAIT = 10
"""Seconds to wait for transactions of others to end."""
_LONGEST = 64
"""Characters of a database's name."""
_HEAD = 4096
"""Bytes of a dump that are looked at before a copy is made."""
_FENCE = f"{PREFIX}fence"
_MARKED = f"/*M!100500 COMMENT '{MARK}' */"
"""Read as a comment of SQL by those who would not understand it."""
_UNKNOWN = {1115, 1273}
"""A character set, a collation."""
_PACKET = "--max-allowed-packet=1G"
"""So that only the server's own limit counts."""
_DUMP = (
    "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob", "--skip-lock-tables",
    "--no-tablespaces", "--default-character-set=utf8mb4", _PACKET,
)  # fmt: skip


@dataclass(frozen=True)
class MysqlProduct(ServerProduct):
    """One database of a MariaDB or MySQL server."""

    dump_name: str = "database.sql"

    def _database(self) -> Database:
        return Database(self.where, read_only=True)

    def client_version(self) -> str:
        """Of the dump program."""
        return self._program("mariadb-dump", "mysqldump")[1]

    def _program(self, mariadb: str, mysql: str) -> tuple[str, str]:
        identity = self.identity()
        mine, package = (mariadb, "mariadb-client") if identity.engine == "mariadb" else (mysql, "mysql-client")
        major = int(identity.version.split(".")[0])
        # a client of the other flavour leaves things out, or stumbles over the first line
        found = [p for p in tools.find([mine]) if ("MariaDB" in tools.version(p)[0]) == (identity.engine == "mariadb")]
        return tools.require(found, f"{identity.engine} {identity.version}", package, least=(major,))

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A session that hands out the bytes that the server sends."""
        where, password = self.where, self.where.password
        given: dict[str, Any] = {
            "host": where.host or "localhost", "port": where.port or 3306, "user": where.user or None,
            "password": password.reveal() if password else "", "database": where.database,
            "unix_socket": where.options.get("unix_socket"),
            **{key: value for key, value in where.options.items() if key.startswith("ssl_")},
        }  # fmt: skip
        with explaining(where.shown):
            opened = pymysql.connect(
                charset="utf8mb4", autocommit=True, connect_timeout=10, use_unicode=False, conv=dict(encoders), **given
            )
            with closing(opened):
                ask(opened, f"SET SESSION time_zone = '+00:00', lock_wait_timeout = {_LOCK_WAIT}")
                yield opened

    @contextmanager
    def tool(self, folder: Path) -> Iterator[str]:
        """The word that lets a program connect; what is secret stands in a file only."""
        where = self.where
        given = {
            "host": where.host or "localhost", "port": where.port, "user": where.user,
            "password": where.password.reveal() if where.password else None,
            "socket": where.options.get("unix_socket"),
            **{key.replace("_", "-"): value for key, value in where.options.items() if key.startswith("ssl_")},
        }  # fmt: skip
        if any("\n" in str(value) for value in given.values()):
            raise Refused("a part of the database URL holds a line break", hint="The dump programs cannot be given it.")
        text = "[client]\n" + "".join(f"{key}={_quoted(value)}\n" for key, value in given.items() if value)
        with tools.secret_file(folder / "client.cnf", text) as file:
            yield f"--defaults-file={file}"

    @contextmanager
    def snapshot(self, folder: Path, key: bytes, pulse: Pulse) -> Iterator["MysqlSnapshot"]:  # noqa: ARG002 - nothing to wait for
        """Open two snapshots of one moment: the dump program's, and one of our own to count in.

        Writers wait while both are opened, for as long as the program takes to start.
        """
        program, _ = self._program("mariadb-dump", "mysqldump")
        with self.connection() as counting, self.connection() as holding, self.tool(folder) as file:
            refuse_undumpable(counting, self.where.database)
            argv = [program, file, *_DUMP, "--", self.where.database]
            self._hold(holding)
            ask(counting, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            ask(counting, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
            counters = counters_of(counting, self.where.database)
            with tools.dumping(argv, folder, self.deadline) as dump:
                begin = until_begun(dump)
                ask(holding, "UNLOCK TABLES")
                yield MysqlSnapshot(self, Resumed(begin, dump), counting, key, counters)

    def _hold(self, connection: Any) -> None:  # noqa: ANN401
        schema = self.where.database
        tables = [f"{name(schema)}.{name(table)} READ" for table in tables_of(connection, schema)]
        if tables:
            ask(connection, f"LOCK TABLES {', '.join(tables)}")

    @contextmanager
    def restored(self, dump: Source, folder: Path, name: str, pulse: Pulse) -> Iterator["MysqlCopy"]:
        """Restore into a new database of the server."""
        program, _ = self._program("mariadb", "mysql")
        scratch = fitting(PREFIX + name, _LONGEST)
        begin = dump.read(_HEAD)
        if begin.startswith(SANDBOX) and not tools.has_option(program, "--sandbox"):
            raise Refused(
                f"the dump begins with MariaDB's sandbox line, which {program} is too old to understand",
                hint="Bring mariadb-client up to date: 10.5.25, 10.6.18, 10.11.8, 11.4 and later know it.",
            )
        self._make(scratch)
        try:
            with self.tool(folder) as file:
                argv = [
                    program,
                    file,
                    "--binary-mode",
                    "--default-character-set=utf8mb4",
                    _PACKET,
                    f"--database={scratch}",
                ]
                tools.feed(argv, ForCopy(Resumed(begin, dump)), folder, self.deadline)
            pulse("restored a copy", 0, None)
            yield MysqlCopy(self, scratch)
        finally:
            self._remove(scratch)

    def clear(self, name: str) -> None:
        """Drop it."""
        self._remove(fitting(PREFIX + name, _LONGEST))

    def _remove(self, scratch: str) -> None:
        with self.connection() as connection:
            if _is_anothers(connection, scratch):
                raise not_ours(scratch)
            ask(connection, _drop(scratch))

    def _lacks(self) -> Iterator[str]:
        with self.model.connection() as live, self.connection() as here:
            theirs, mine = (int(ask(each, "SELECT @@lower_case_table_names")[0][0]) for each in (live, here))
        if mine != theirs:
            yield f"its lower_case_table_names is {mine}, not {theirs}"

    def _make(self, scratch: str) -> None:
        self._remove(scratch)
        with self.model.connection() as live:
            statement = _create_like(live, self.model.where.database, scratch)
        with self.connection() as connection:
            try:
                ask(connection, f"{statement} {_MARKED}")
            except pymysql.err.OperationalError as error:
                if error.args[0] in _UNKNOWN:
                    raise Refused(
                        f"{self.where.shown} does not know the character set or collation of the database",
                        hint="Choose a server that has the same ones: 'SHOW COLLATION'.",
                    ) from None
                raise Refused(
                    f"the user {self.where.user} may not make a database to restore into",
                    hint=f"Let an administrator run 'GRANT ALL ON `{PREFIX.replace('_', chr(92) + '_')}%`.* TO …'.",
                ) from None


@dataclass(frozen=True)
class MysqlSnapshot:
    """The dump under way, and what was counted in the same moment."""

    _product: MysqlProduct
    _dump: Source
    _counting: Any
    _key: bytes
    _counters: dict[str, int]
    """From before the dump was begun: later ones may be ahead of it."""
    position: str = "consistent snapshot under a read lock of all tables"

    def facts(self, pulse: Pulse) -> Facts:
        """What our own snapshot of the same moment holds."""
        where = self._product.where
        with explaining(where.shown):
            return facts_of(self._counting, where.database, self._key, pulse, self._counters)

    def give_up(self) -> None:
        """Have the server end the query that is under way."""
        with self._product.connection() as connection:
            ask(connection, f"KILL QUERY {self._counting.thread_id()}")

    @contextmanager
    def read(self, *, packed: bool) -> Iterator[BinaryIO]:  # noqa: ARG002 - the program does not compress
        """SQL, as the product's own program writes it."""
        yield cast("BinaryIO", self._dump)


@dataclass(frozen=True)
class MysqlCopy:
    """A restored database beside the one it was taken of."""

    product: MysqlProduct
    scratch: str

    @property
    def database(self) -> str:
        """Its name on the server."""
        return self.scratch

    def facts(self, key: bytes, pulse: Pulse) -> Facts:
        """What it holds."""
        with self.product.connection() as connection:
            return facts_of(connection, self.scratch, key, pulse)

    def loss(self) -> dict[str, Loss]:
        """What putting it in the database's place would take away."""
        with self.product.connection() as connection:
            return loss_between(connection, self.product.where.database, self.scratch)

    def take_place(self, kept: str, expected: Facts, key: bytes, pulse: Pulse) -> str:  # noqa: ARG002 - was compared
        """Move all tables of both databases in one statement, which is done or not done.

        Sessions that are open stay, and find the restored tables. The database itself stays,
        with its character set, collation and comment; so do the rights on it, its tables,
        columns and routines, which the server keeps by name. Views, routines and events
        stay where they are; where they differ, or where there are triggers, which no table
        takes to another database, this refuses.
        """
        live, former = self.product.where.database, fitting(kept, _LONGEST)
        with self.product.connection() as connection:
            self._refuse_what_stays_behind(connection)
            _carry_fence(connection, live, self.scratch)
            pulse("swapping the tables", 0, None)
            ask(connection, _create_like(connection, live, former))
            try:
                ask(connection, f"RENAME TABLE {', '.join(_moves(connection, live, self.scratch, former))}")
            except pymysql.Error as error:
                ask(connection, _drop(former))
                if error.args[0] in {1205, 1213}:
                    raise Refused(
                        f"the database {live!r} is in use; nothing was changed",
                        hint="Stop the application, or end its long transactions, then try again.",
                    ) from None
                raise
        return former

    def _refuse_what_stays_behind(self, connection: Any) -> None:  # noqa: ANN401
        live = self.product.where.database
        mine, theirs = besides(connection, live), besides(connection, self.scratch)
        if any(line.startswith(b"trigger\t") for line in (*mine, *theirs)):
            raise Refused(
                f"the database {live!r} has triggers, and a table that has one cannot be moved to another database",
                hint="Restore by hand into a new database, and let the application use that one; nothing was changed.",
            )
        if mine != theirs:
            raise Refused(
                f"views or routines of the database {live!r} have changed since the backup",
                hint="Bring them back to what they were, then try again; nothing was changed.",
            )


def _moves(connection: Any, live: str, scratch: str, former: str) -> list[str]:  # noqa: ANN401
    return [
        f"{name(source)}.{name(table)} TO {name(target)}.{name(table)}"
        for source, target in ((live, former), (scratch, live))
        for kind in ("BASE TABLE", "SEQUENCE")
        for table in tables_of(connection, source, kind)
    ]


def _carry_fence(connection: Any, live: str, scratch: str) -> None:  # noqa: ANN401
    """Keep the highest fencing token: a restored one would let a stale holder write again."""
    if not columns_of(connection, live, _FENCE):
        return
    mine, theirs = f"{name(live)}.{name(_FENCE)}", f"{name(scratch)}.{name(_FENCE)}"
    ask(connection, f"CREATE TABLE IF NOT EXISTS {theirs} LIKE {mine}")
    ask(connection, f"REPLACE INTO {theirs} SELECT * FROM {mine}")  # noqa: S608


def _create_like(connection: Any, model: str, database: str) -> str:  # noqa: ANN401
    """A statement that makes a database with another's character set and collation, which no dump carries."""
    query = (
        "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
        " WHERE schema_name = %s"
    )
    characters, order = (bytes(v).decode() for v in ask(connection, query, (model,))[0])
    return f"CREATE DATABASE {name(database)} CHARACTER SET {characters} COLLATE {order}"


def _is_anothers(connection: Any, database: str) -> bool:  # noqa: ANN401
    """Whether it holds something and does not say that it is ours. MySQL, and MariaDB before 10.5, keep no comment."""
    holds = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s LIMIT 1"
    if not ask(connection, holds, (database,)) or ask(connection, "SELECT /*M!100500 1 - */ 1")[0][0] == b"1":
        return False
    return MARK.encode() not in bytes(ask(connection, f"SHOW CREATE DATABASE {name(database)}")[0][1])


def _drop(database: str) -> str:
    return f"DROP DATABASE IF EXISTS {name(database)}"


def _quoted(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
