"""PostgreSQL: pg_dump and pg_restore on one exported snapshot, and a swap by two renames in one transaction.

Sources: postgresql.org/docs/current: app-pgdump, app-pgrestore, libpq-pgservice, functions-admin "Snapshot
Synchronization Functions", sql-alterdatabase.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deployguard.backup import tools
from deployguard.backup.base import Facts, Loss, Pulse, Source
from deployguard.backup.naming import MARK, fitting, not_ours
from deployguard.backup.postgres_facts import Connection, counters_of, facts_of, loss_between, prepare
from deployguard.backup.postgres_place import carry_fence, create_like, shape_of, swap
from deployguard.backup.postgres_schema import USES
from deployguard.backup.server import ServerProduct
from deployguard.databases.base import PREFIX
from deployguard.databases.postgres import Postgres as Database
from deployguard.databases.postgres_errors import explaining
from deployguard.errors import Refused, StepFailed

_FOLDERS = "/usr/lib/postgresql/*/bin"
_LONGEST = 63
"""Bytes of a database's name."""
_TRIES = 5


@dataclass(frozen=True)
class PostgresProduct(ServerProduct):
    """One database of a PostgreSQL server."""

    dump_name: str = "database.pgdump"

    def _database(self) -> Database:
        return Database(self.where, read_only=True)

    def client_version(self) -> str:
        """Of pg_dump."""
        return self._program("pg_dump")[1]

    def _program(self, name: str) -> tuple[str, str]:
        with self.connection() as connection:
            major = connection.info.server_version // 10000
        return tools.require(
            tools.find([name], _FOLDERS), str(major), f"postgresql-client-{major} (Debian, Ubuntu)", least=(major,)
        )

    @contextmanager
    def connection(self, database: str | None = None) -> Iterator[Connection]:
        """A session of our own."""
        connect = partial(psycopg.connect, autocommit=True, prepare_threshold=None)
        with explaining(self.where.shown), closing(connect(self._conninfo(database))) as opened:
            prepare(opened)
            yield opened

    def _parameters(self) -> dict[str, Any]:
        where, password = self.where, self.where.password
        given = {
            "host": where.host, "port": where.port, "user": where.user,
            "password": password.reveal() if password else None,
            "application_name": "deployguard", "connect_timeout": 10, **where.options,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value not in {None, ""}}

    def _conninfo(self, database: str | None) -> str:
        return make_conninfo(**self._parameters(), dbname=database or self.where.database, client_encoding="UTF8")

    @contextmanager
    def tool(self, folder: Path, database: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Words and variables that let a program connect; what is secret stands in a file only."""
        parameters = self._parameters()
        if any("\n" in str(value) for value in parameters.values()):
            raise Refused("a part of the database URL holds a line break", hint="The dump programs cannot be given it.")
        text = "[deployguard]\n" + "".join(f"{name}={value}\n" for name, value in parameters.items())
        with tools.secret_file(folder / "service.conf", text) as file:
            yield make_conninfo(service="deployguard", dbname=database), {"PGSERVICEFILE": str(file)}

    @contextmanager
    def snapshot(self, folder: Path, key: bytes, pulse: Pulse) -> Iterator["PostgresSnapshot"]:  # noqa: ARG002 - nothing to wait for
        """Hold one snapshot: it is counted here, and pg_dump is told to dump the same one."""
        program, _ = self._program("pg_dump")
        with self.connection() as connection:
            connection.execute("SET lock_timeout = '10s'")
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            exported = connection.execute("SELECT pg_export_snapshot(), pg_current_snapshot()::text").fetchone()
            number, position = exported or ("", "")
            counters = counters_of(connection)
            yield PostgresSnapshot(self, program, folder, number, f"snapshot {position}", connection, key, counters)

    @contextmanager
    def restored(self, dump: Source, folder: Path, name: str, pulse: Pulse) -> Iterator["PostgresCopy"]:
        """Restore into a new database of the server, in one transaction."""
        program, _ = self._program("pg_restore")
        scratch = fitting(PREFIX + name, _LONGEST)
        self._make(scratch)
        try:
            with self.tool(folder, scratch) as (conninfo, env):
                argv = [
                    program, "--exit-on-error", "--single-transaction", "--no-password",
                    *(["--no-tablespaces"] if self.original else []), f"--dbname={conninfo}",
                ]  # fmt: skip
                tools.feed(argv, dump, folder, self.deadline, **env)
            pulse("restored a copy", 0, None)
            yield PostgresCopy(self, scratch)
        finally:
            self._remove(scratch)

    def clear(self, name: str) -> None:
        """Drop it, whoever is connected."""
        self._remove(fitting(PREFIX + name, _LONGEST))

    def _lacks(self) -> Iterator[str]:
        with self.model.connection() as live, self.connection() as here:
            for what, (used, known) in USES.items():
                there = set(here.execute(known).fetchall())
                missing = sorted(name for (name,) in set(live.execute(used).fetchall()) - there)
                if missing:
                    yield f"there is no {what} {', '.join(map(repr, missing))}"

    def _shape(self) -> dict[str, Any]:
        with self.model.connection() as live:
            shape = shape_of(live, self.model.where.database)
        # another server has disks of its own
        return {**shape, "tablespace": "pg_default"} if self.original else shape

    def _make(self, scratch: str) -> None:
        shape = self._shape()
        for _ in range(_TRIES):
            self._remove(scratch)
            with self.connection() as connection:
                try:
                    create_like(connection, shape, scratch, MARK)
                except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    # somebody who was killed a moment ago had asked for it, and the server has only now done it
                    continue
                return
        raise StepFailed(f"the scratch database {scratch!r} comes back again and again", hint="Who makes it?")

    def _remove(self, scratch: str) -> None:
        found = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        with self.connection() as connection:
            comment = connection.execute(found, (scratch,)).fetchone()
            if comment is None:
                return
            # no comment yet: whoever made it was killed before saying so, and has put nothing into it
            if comment[0] != MARK and (comment[0] is not None or self._holds_something(scratch)):
                raise not_ours(scratch)
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(scratch)))

    def _holds_something(self, database: str) -> bool:
        with self.connection(database) as connection:
            # what is there from the beginning has numbers below 16384 (FirstNormalObjectId)
            found = connection.execute("SELECT EXISTS (SELECT FROM pg_class WHERE oid >= 16384)").fetchone()
            return bool(found and found[0])


@dataclass(frozen=True)
class PostgresSnapshot:
    """A snapshot while its transaction is open."""

    _product: PostgresProduct
    _program: str
    _folder: Path
    _number: str
    position: str
    _connection: Connection
    _key: bytes
    _counters: dict[str, int]
    """From before the dump was begun: later ones may be ahead of it."""

    def facts(self, pulse: Pulse) -> Facts:
        """What it holds, in the transaction that the snapshot was exported from."""
        with explaining(self._product.where.shown):
            return facts_of(self._connection, self._key, pulse, self._counters)

    def give_up(self) -> None:
        """Have the server end the query that is under way."""
        self._connection.cancel()

    @contextmanager
    def read(self, *, packed: bool) -> Iterator[BinaryIO]:
        """An archive in pg_dump's own format."""
        product = self._product
        with product.tool(self._folder, product.where.database) as (conninfo, env):
            argv = [
                self._program, "--format=custom", f"--snapshot={self._number}", "--no-password",
                "--lock-wait-timeout=10000", *([] if packed else ["--compress=0"]), f"--dbname={conninfo}",
            ]  # fmt: skip
            with tools.dumping(argv, self._folder, product.deadline, **env) as dump:
                yield dump


@dataclass(frozen=True)
class PostgresCopy:
    """A restored database beside the one it was taken of."""

    product: PostgresProduct
    name: str

    @property
    def database(self) -> str:
        """Its name on the server."""
        return self.name

    def facts(self, key: bytes, pulse: Pulse) -> Facts:
        """What it holds."""
        with self.product.connection(self.name) as connection:
            return facts_of(connection, key, pulse)

    def loss(self) -> dict[str, Loss]:
        """What putting it in the database's place would take away."""
        with self.product.connection() as live, self.product.connection(self.name) as copy:
            live.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return loss_between(live, copy, lambda *_: None)

    def take_place(self, kept: str, expected: Facts, key: bytes, pulse: Pulse) -> str:  # noqa: ARG002 - was compared
        """Swap both names in one transaction. A crash before its end leaves the former database, untouched.

        Sessions on the database are ended: a rename needs that. Those that come meanwhile
        wait, and are turned away once, since the name is another database's by then.
        """
        product, live = self.product, self.product.where.database
        former = fitting(kept, _LONGEST)
        with product.connection(self.name) as copy, product.connection() as present:
            carry_fence(present, copy)
            copy.execute("ANALYZE")
        pulse("swapping the databases", 0, None)
        with product.connection(self._elsewhere()) as first, product.connection(self._elsewhere()) as second:
            swap(first, second, live=live, copy=self.name, former=former)
        return former

    def _elsewhere(self) -> str:
        """A database to stand on while both are renamed."""
        for name in ("postgres", "template1"):
            if name != self.product.where.database:
                try:
                    with self.product.connection(name):
                        return name
                except (Refused, StepFailed):
                    continue
        raise Refused(
            f"there is no other database to connect to on the server of {self.product.where.shown}",
            hint="Let the user connect to the database postgres; a database cannot be renamed from within.",
        )
