"""SQLite.

Sources: sqlite.org/lang_transaction.html, /rowvalue.html, /pragma.html, /uri.html.
"""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

from deployguard.databases.base import (
    PREFIX,
    Changes,
    Checkpoint,
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
from deployguard.databases.sqlite_catalog import read_shape
from deployguard.databases.sqlite_errors import explained
from deployguard.databases.sqlite_residue import SqliteResidue
from deployguard.databases.sqlite_swap import SqliteBatch, made_ready, name
from deployguard.databases.state import CHECKPOINT, TABLES, checkpoint_of, dump_key, only_number, require_fence
from deployguard.errors import Refused

_BUSY = 30.0
"""Seconds to wait for another writer."""
_PORTION = 50
_STATE = f"""
CREATE TABLE IF NOT EXISTS {PREFIX}fence (id INTEGER PRIMARY KEY CHECK (id = 1), fence INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS {PREFIX}checkpoint (
    operation TEXT NOT NULL, name TEXT NOT NULL, shard INTEGER NOT NULL, begins TEXT, until TEXT,
    number INTEGER NOT NULL, after TEXT, changed INTEGER NOT NULL, total INTEGER NOT NULL, done INTEGER NOT NULL,
    PRIMARY KEY (operation, name, shard)
);
CREATE TABLE IF NOT EXISTS {PREFIX}kept (
    operation TEXT NOT NULL, name TEXT NOT NULL, field TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (operation, name, key, field)
) WITHOUT ROWID;
"""


class Sqlite:
    """A SQLite file."""

    # one lock for all who write: few of theirs meet it if it is taken seldom, however long
    gentle = Gentle(rows=1000, share=0.02, times=45)

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Open the file; it is never created.

        Raises:
            Refused: it is absent, not a database, or not writable although it must be.
        """
        self._path = path
        self._read_only = read_only
        self._check_file()
        self._connection = self._open()
        try:
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            encoding = self._connection.execute("PRAGMA encoding").fetchone()[0]
            if not read_only:
                self._prove_writable()
        except sqlite3.Error as error:
            self._connection.close()
            raise explained(error, str(self._path), _BUSY) from None
        if encoding != "UTF-8":
            self._connection.close()
            raise Refused(
                f"the database {path} is encoded in {encoding}",
                hint="Tokens are made of UTF-8. Make a UTF-8 copy: dump it and load it into a new file.",
            )

    def _check_file(self) -> None:
        if not self._path.is_file():
            what = "is not a file" if self._path.exists() else "is not there"
            raise Refused(
                f"the database {self._path} {what}",
                hint="Check the environment's database: URL; a relative path begins at the runbook.",
            )
        if self._path.stat().st_size == 0:
            raise Refused(f"the database {self._path} is empty", hint="Migrate it first, or check the database: URL.")
        if not self._read_only and not (os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)):
            raise Refused(
                f"the database {self._path} is read-only for this user",
                hint="Run as the user who owns it, or give write permission to file and folder.",
            )
        if not self._read_only and not self._path.stat().st_mode & 0o222:
            raise Refused(f"the database {self._path} is marked read-only", hint=f"Run 'chmod u+w {self._path}'.")

    def _open(self) -> sqlite3.Connection:
        mode = "rw"
        if self._read_only:
            # a WAL database that nobody has open would gain -wal and -shm files by being read
            live = any(Path(f"{self._path}{suffix}").exists() for suffix in ("-wal", "-shm", "-journal"))
            mode = "ro" if live or not self._is_wal() else "ro&immutable=1"
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self._path))}?mode={mode}", uri=True, isolation_level=None, timeout=_BUSY,
                check_same_thread=False,
            )  # fmt: skip
            connection.execute(f"PRAGMA busy_timeout={int(_BUSY * 1000)}")
            connection.create_function("regexp", 2, _matches, deterministic=True)
            if not self._read_only:
                connection.execute("PRAGMA secure_delete=ON")
        except sqlite3.Error as error:
            raise explained(error, str(self._path), _BUSY) from None
        return connection

    def _is_wal(self) -> bool:
        with self._path.open("rb") as stream:
            return stream.read(20)[18:20] == b"\x02\x02"

    def _prove_writable(self) -> None:
        # takes the write lock and lets go of it: nothing is written
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("ROLLBACK")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, str(self._path), _BUSY) from None

    def identity(self) -> Identity:
        """The file's real path is the database's name, its inode the server's id."""
        facts = self._path.stat()
        return Identity(
            "sqlite",
            sqlite3.sqlite_version,
            os.uname().nodename,
            str(self._path.resolve()),
            f"{facts.st_dev:x}-{facts.st_ino:x}",
        )

    def size(self) -> int:
        """Bytes of the file and of its write-ahead log."""
        files = [self._path, Path(f"{self._path}-wal")]
        return sum(f.stat().st_size for f in files if f.exists())

    def folder(self) -> Path:
        """Where the file is."""
        return self._path.resolve().parent

    def number(self, query: str) -> float:
        """The one number that a query gives; it can change nothing."""
        with self._explaining():
            self._connection.execute("PRAGMA query_only=ON")
            try:
                return only_number(self._connection.execute(query).fetchmany(2))
            finally:
                self._connection.execute("PRAGMA query_only=OFF")

    def writes(self) -> int:
        """What SQLite changes when another connection has committed."""
        with self._explaining():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def lag(self) -> float | None:
        """A file copies nobody."""
        return None

    def tables(self) -> list[str]:
        """Names of the application's tables."""
        with self._explaining():
            found = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            return [row[0] for row in found if not row[0].startswith((PREFIX, "sqlite_"))]

    def shape(self, table: str) -> TableShape:
        """How a table is declared."""
        with self._explaining():
            return read_shape(self._connection, table, str(self._path))

    def count(self, table: str, where: Sequence[Condition] = ()) -> int:
        """Rows, at this moment."""
        only, values = _only(RowTable(table, (), (), where=tuple(where)), None)
        with self._explaining():
            return int(self._connection.execute(f"SELECT count(*) FROM {name(table)} {only}", values).fetchone()[0])

    def page(self, table: RowTable, after: Key | None, limit: int) -> Page:
        """Rows in key order, those after a key."""
        only, values = _only(table, after)
        sql = f"SELECT {_columns(table)} FROM {name(table.name)} {only} ORDER BY {_keys(table)} LIMIT ?"
        with self._explaining(), closing(self._connection.execute(sql, (*values, limit))) as cursor:
            return _page(table, within(table, lambda: cursor.fetchmany(_PORTION)))

    def cut(self, table: RowTable, every: int) -> list[Key]:
        """Keys that end ranges of `every` rows."""
        found: list[Key] = []
        while True:
            only, values = _only(table, found[-1] if found else None)
            keys = _keys(table)
            sql = f"SELECT {keys} FROM {name(table.name)} {only} ORDER BY {keys} LIMIT 1 OFFSET ?"
            with self._explaining():
                key = self._connection.execute(sql, (*values, every - 1)).fetchone()
            if key is None:
                return found
            found.append(_key(table, key))

    def rows(self, table: RowTable, keys: Sequence[Key]) -> Page:
        """The rows of some keys, as they are now."""
        where = " AND ".join(f"{name(column)} = ?" for column in table.key)
        sql = f"SELECT {_columns(table)} FROM {name(table.name)} WHERE {where}"
        with self._explaining():
            found = [row for key in keys for row in self._connection.execute(sql, key).fetchall()]
        return _page(table, Page.of(table, [*zip(*found, strict=True)]))

    def _has_state(self) -> bool:
        return (
            self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (f"{PREFIX}fence",)).fetchone()
            is not None
        )

    def fence(self) -> int:
        """The highest fencing token that was ever claimed here."""
        with self._explaining():
            if not self._has_state():
                return 0
            found = self._connection.execute(f"SELECT fence FROM {PREFIX}fence").fetchone()
            return int(found[0]) if found else 0

    def claim(self, fence: int) -> None:
        """Shut out every lower fencing token."""
        with self._explaining(), self._transaction():
            for statement in _STATE.split(";"):
                self._connection.execute(statement)
            self._connection.execute(
                f"INSERT INTO {PREFIX}fence VALUES (1, ?)"
                " ON CONFLICT (id) DO UPDATE SET fence = max(fence, excluded.fence)",
                (fence,),
            )
            self._require(fence)

    def _require(self, fence: int) -> None:
        found = self._connection.execute(f"SELECT fence FROM {PREFIX}fence").fetchone() if self._has_state() else None
        require_fence(found[0] if found else None, fence, str(self._path))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def ready(self, table: RowTable, changes: Sequence[Changes]) -> Ready:
        """Changes for a batch to swap."""
        return made_ready(table, changes)

    @contextmanager
    def batch(self, fence: int) -> Iterator[SqliteBatch]:
        """A transaction under a fencing token."""
        with self._explaining(), self._transaction():
            self._require(fence)
            yield SqliteBatch(self._connection)

    def checkpoints(self, operation: str, table: str) -> list[Checkpoint]:
        """Where an operation stands, range by range."""
        return self._checkpoints("operation = ? AND name = ? ORDER BY shard", (operation, table))

    def checkpoint(self, operation: str, table: str, shard: int) -> Checkpoint | None:
        """Where it stands in one of them."""
        found = self._checkpoints("operation = ? AND name = ? AND shard = ?", (operation, table, shard))
        return found[0] if found else None

    def _checkpoints(self, where: str, values: tuple[Value, ...]) -> list[Checkpoint]:
        with self._explaining():
            if not self._has_state():
                return []
            sql = f"SELECT {CHECKPOINT} FROM {PREFIX}checkpoint WHERE {where}"
            return [checkpoint_of(found) for found in self._connection.execute(sql, values)]

    def keeps(self, operation: str, table: str) -> bool:
        """Whether there are values that the undo must leave."""
        with self._explaining():
            sql = f"SELECT 1 FROM {PREFIX}kept WHERE operation = ? AND name = ? LIMIT 1"
            return self._has_state() and self._connection.execute(sql, (operation, table)).fetchone() is not None

    def kept(self, operation: str, table: RowTable, keys: Sequence[Key]) -> dict[tuple[str, Key], bytes]:
        """Those of some rows."""
        sql = f"SELECT field, digest FROM {PREFIX}kept WHERE operation = ? AND name = ? AND key = ?"
        with self._explaining():
            return {
                (column, key): digest
                for key in keys
                for column, digest in self._connection.execute(sql, (operation, table.name, dump_key(key)))
            }

    def operations(self) -> set[str]:
        """Names of the operations that have a checkpoint here."""
        with self._explaining():
            if not self._has_state():
                return set()
            found = self._connection.execute(f"SELECT DISTINCT operation FROM {PREFIX}checkpoint")
            return {operation for (operation,) in found}

    def forget(self) -> None:
        """Remove everything that deployguard keeps in this database."""
        with self._explaining(), self._transaction():
            for name in TABLES:
                self._connection.execute(f"DROP TABLE IF EXISTS {PREFIX}{name}")

    def residue(self) -> SqliteResidue:
        """Free pages of the file, and its logs."""
        return SqliteResidue(self._connection, self._path, self._explaining)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _keys(table: RowTable) -> str:
    return ", ".join(map(name, table.key))


def _only(table: RowTable, after: Key | None) -> tuple[str, tuple[Value, ...]]:
    """Which rows: those after a key, as far as the table goes."""
    marks, conditions = ", ".join("?" * len(table.key)), []
    values: tuple[Value, ...] = ()
    for key, operator in ((after, ">"), (table.until, "<=")):
        if key is not None:
            conditions.append(f"({_keys(table)}) {operator} ({marks})")
            values += key
    for condition in table.where:
        conditions.append(f"{name(condition.column)} {condition.operator} ?")
        values += (condition.value,)
    if table.sieve is not None:
        worth, more = _worth(table, table.sieve)
        conditions.append(worth)
        values += more
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _worth(table: RowTable, sieve: Sieve) -> tuple[str, tuple[Value, ...]]:
    either: list[str] = []
    values: tuple[Value, ...] = ()
    for index, column in enumerate(map(name, table.columns)):
        stored = f"CAST({column} AS BLOB)"
        either.append(f"typeof({column}) NOT IN ('{_kind(table, index)}', 'null')")
        if sieve.unlike:
            shape = f"length({stored}) >= ? AND length({stored}) % ? = ? AND {stored} REGEXP ?"
            alike = " OR ".join([shape] * len(sieve.unlike))
            either.append(f"NOT ({alike})" + ("" if index in sieve.empty else f" AND {column} <> ''"))
            values += tuple(part for each in sieve.unlike for part in each)
        if sieve.begins:
            begin = f"substr({stored}, 1, {len(sieve.begins)}) = CAST(? AS BLOB)"
            either.append(f"{begin} AND length({stored}) >= {sieve.long}")
            values += (sieve.begins,)
        if sieve.longer and (most := sieve.longer[index]) is not None:
            either.append(f"length({stored}) > {most}")
    return f"({' OR '.join(either)})", values


def _matches(pattern: str, value: bytes | None) -> bool | None:
    # SQLite knows the operator and leaves it to others to say what it means
    return None if value is None else _compiled(pattern).search(value) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


def _columns(table: RowTable) -> str:
    # with the table's name, since SQLite takes a quoted name of no column for a text
    named = [f"{name(table.name)}.{name(c)}" for c in table.columns]
    values = [f"CAST({column} AS BLOB)" for column in named]
    # a digit for each column, in one value: a value for each would take a third of the time of reading
    foreign = [f"(typeof({c}) NOT IN ('{_kind(table, i)}', 'null'))" for i, c in enumerate(named)]
    return ", ".join([*map(name, table.key), *values, " || ".join(["''", *foreign])])


def _kind(table: RowTable, index: int) -> str:
    return "blob" if index in table.binary else "text"


def _key(table: RowTable, found: tuple[Value, ...]) -> Key:
    if None in found:
        # SQLite allows it in a primary key, but no comparison finds such a row again
        raise Refused(
            f"a row of {table.name} has NULL in its primary key", hint="Give these rows a key, or remove them."
        )
    return found


def _page(table: RowTable, page: Page) -> Page:
    """Rows as `_columns` reads them: behind the values stands which of them are foreign."""
    for key in page.keys:
        _key(table, key)
    if not page:
        return page
    *columns, digits = page.columns
    kinds = {each: frozenset(i for i, digit in enumerate(str(each)) if digit == "1") for each in {*digits}}
    # nearly always all of them are what they should be
    return Page(page.keys, columns, [kinds[each] for each in digits] if any(kinds.values()) else ())
