"""SQLite: the online backup interface out, and back in through the same locks.

Sources: sqlite.org/backup.html, /lockingv3.html, /pragma.html, /c3ref/backup_finish.html.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import quote

from deployguard.backup.base import Facts, Loss, Product, Pulse, Source, Table
from deployguard.backup.durable import PARTIAL, create, explained, sync_folder, to_disk
from deployguard.backup.room import Need
from deployguard.backup.sqlite_facts import facts_of, loss_between
from deployguard.databases.base import PREFIX, Identity
from deployguard.databases.server_disk import Room, room_in
from deployguard.databases.sqlite import Sqlite as Database
from deployguard.databases.url import DatabaseUrl
from deployguard.errors import DeployguardError, Refused, StepFailed

_FENCE = f"{PREFIX}fence"
_PAGES = 4096
"""Copied between two looks at the clock. The copy is one snapshot all the same: a read transaction holds it."""


@dataclass(frozen=True)
class SqliteProduct:
    """A SQLite file.

    Attributes:
        deadline: seconds that copying may take, and that a lock is waited for at the swap.
        keep: folder for the former database when a backup takes its place; by default its own.
    """

    path: Path
    deadline: float = 600.0
    keep: Path | None = None
    dump_name: str = "database.sqlite3"
    snapshot_is_copy: ClassVar[bool] = True

    def identity(self) -> Identity:
        """Which database it is."""
        with closing(Database(self.path, read_only=True)) as database:
            return database.identity()

    def size(self) -> int:
        """Bytes of the file and of its write-ahead log."""
        with closing(Database(self.path, read_only=True)) as database:
            return database.size()

    def room(self, folder: Path) -> Room | None:
        """Of the disk that `folder` is on."""
        return room_in(folder)

    def swap_needs(self, size: int) -> list[Need]:
        """The present database is kept, and its pages stand in the journal until the new ones are written."""
        present = self.size()
        return [
            Need(room_in(self.keep or self.path.parent), present, "the database as it is now"),
            Need(room_in(self.path), max(size, present), "the pages that change"),
        ]

    def client_version(self) -> str:
        """Of the library."""
        return sqlite3.sqlite_version

    @contextmanager
    def snapshot(self, folder: Path, key: bytes, pulse: Pulse) -> Iterator["SqliteSnapshot"]:
        """Copy the file page by page within one read transaction, and count in the copy."""
        copy = folder / "snapshot"
        create(copy).close()
        try:
            with _explaining(self.path), closing(_connect(self.path, "rw")) as source:
                position = _copy(source, copy, self.deadline, pulse)
            with closing(_connect(copy, "ro&immutable=1")) as counting:
                yield SqliteSnapshot(copy, position, counting, key)
        finally:
            _remove_database(copy)

    @contextmanager
    def restored(self, dump: Source, folder: Path, name: str, pulse: Pulse) -> Iterator["SqliteCopy"]:
        """Write the dump to a file of its own in `folder`."""
        copy = folder / name
        _remove_database(copy)
        try:
            with explained(copy), create(copy) as stream:
                while chunk := dump.read(1024 * 1024):
                    stream.write(chunk)
                to_disk(stream)
            pulse("restored a copy", copy.stat().st_size, copy.stat().st_size)
            yield SqliteCopy(copy, self.path, self.keep or self.path.parent, self.deadline)
        finally:
            _remove_database(copy)

    def clear(self, name: str) -> None:
        """Nothing: a copy is a file of the folder that is worked in, and goes with it."""

    def elsewhere(self, where: DatabaseUrl) -> Product:
        """Nowhere: there is no server."""
        raise Refused(
            f"{where.shown} is no place for a copy of {self.path}: SQLite has no server",
            hint="Leave scratch_in: out: the copy lies where the backup is made; to: may name another disk's folder.",
        )

    def require_alike(self) -> None:
        """A file is the same everywhere."""


@dataclass(frozen=True)
class SqliteSnapshot:
    """The copy, while it is being stored."""

    _copy: Path
    position: str
    _counting: sqlite3.Connection
    _key: bytes

    def facts(self, pulse: Pulse) -> Facts:
        """What the copy holds."""
        with _explaining(self._copy):
            return facts_of(self._counting, self._key, pulse)

    def give_up(self) -> None:
        """End the query that is under way."""
        self._counting.interrupt()

    @contextmanager
    def read(self, *, packed: bool) -> Iterator[BinaryIO]:  # noqa: ARG002 - a database file is what it is
        """The copy's bytes."""
        with self._copy.open("rb") as stream:
            yield stream


@dataclass(frozen=True)
class SqliteCopy:
    """A restored file beside the database."""

    path: Path
    live: Path
    keep: Path
    deadline: float

    @property
    def database(self) -> str:
        """The file's path."""
        return str(self.path.resolve())

    def facts(self, key: bytes, pulse: Pulse) -> Facts:
        """What it holds."""
        return _facts(self.path, key, pulse)

    def loss(self) -> dict[str, Loss]:
        """What putting it in the database's place would take away."""
        with _explaining(self.live), closing(_connect(self.live, "ro")) as connection:
            connection.execute("ATTACH ? AS backup", (f"file:{quote(str(self.path))}?mode=ro&immutable=1",))
            connection.execute("BEGIN")
            return loss_between(connection)

    def take_place(self, kept: str, expected: Facts, key: bytes, pulse: Pulse) -> str:
        """Write the copy's pages through the database's own locks, in one transaction.

        Connections that are open stay valid, and see the restored data: a renamed file would
        leave them writing to the old one. The lock is held from before the present state is
        kept until the result is compared, so no write falls in between. A crash leaves the
        former database: SQLite rolls the half-written pages back when it is next opened.
        """
        former = self.keep / kept
        with _explaining(self.live), closing(_connect(self.live, "rw", self.deadline)) as live:
            _shut_out_others(live, self.live)
            _keep(live, former, self.deadline, pulse)
            _carry_fence(live, self.path)
            _copy_into(self.path, live, self.deadline)
            differences = _as_restored(expected).differences(_as_restored(facts_of(live, key, lambda *_: None)))
            if differences:
                _copy_into(former, live, self.deadline)
                raise StepFailed(
                    f"the restored database {self.live} is not what the backup holds: {differences[0]}",
                    hint=f"What was there before is in its place again, and in {former} too.",
                )
        return str(former)


def _as_restored(facts: Facts) -> Facts:
    # the fencing token of the present is carried over, and only that
    return Facts("", {n: t if n != _FENCE else Table(0, "") for n, t in facts.tables.items()} | {_FENCE: Table(0, "")})


def _connect(path: Path, mode: str, busy: float = 30.0) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, isolation_level=None, timeout=busy, check_same_thread=False
    )
    connection.text_factory = bytearray  # exact bytes, and not to be mistaken for a blob
    return connection


def _copy(source: sqlite3.Connection, to: Path, deadline: float, pulse: Pulse, *, transaction: bool = True) -> str:
    """Copy one snapshot of a database; its position."""
    until = time.monotonic() + deadline
    size = source.execute("PRAGMA page_size").fetchone()[0]

    def step(_status: int, left: int, total: int) -> None:
        if time.monotonic() > until:
            raise StepFailed(
                f"the database could not be copied within {deadline:.0f} s", hint="Raise deadline: of the step."
            )
        pulse("copying the database", (total - left) * size, total * size)

    if transaction:
        # while this reads, the backup stays on one snapshot and never begins again (measured: beside
        # a writer that commits every 2 ms a copy in steps without it does not end)
        source.execute("BEGIN")
    position = source.execute("SELECT * FROM pragma_schema_version").fetchone()[0]
    with closing(_connect(to, "rw")) as target:
        target.execute("PRAGMA synchronous=OFF")
        source.backup(target, pages=_PAGES, progress=step)
    return f"schema version {position}"


def _copy_into(copy: Path, live: sqlite3.Connection, deadline: float) -> None:
    until = time.monotonic() + deadline

    def step(_status: int, left: int, _total: int) -> None:
        if left and time.monotonic() > until:
            raise StepFailed(
                "the database was locked by somebody else in the middle of the swap",
                hint="It is as it was before. Stop the application, then try again.",
            )

    with closing(_connect(copy, "rw")) as source:
        source.backup(live, pages=-1, progress=step)


def _keep(live: sqlite3.Connection, former: Path, deadline: float, pulse: Pulse) -> None:
    partial = former.with_name(former.name + PARTIAL)
    with explained(former):
        create(partial).close()
    try:
        _copy(live, partial, deadline, pulse, transaction=False)
        with partial.open("rb+") as stream:
            to_disk(stream)
        partial.rename(former)
        sync_folder(former.parent)
    finally:
        _remove_database(partial)


def _shut_out_others(live: sqlite3.Connection, path: Path) -> None:
    live.execute("PRAGMA synchronous=EXTRA")
    live.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    live.execute("PRAGMA locking_mode=EXCLUSIVE")
    try:
        # in this mode the lock outlives the transaction that took it
        live.execute("BEGIN EXCLUSIVE")
        live.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise Refused(
            f"the database {path} is in use",
            hint="Stop the application and whatever else has it open, then try again; nothing was changed.",
        ) from None


def _carry_fence(live: sqlite3.Connection, copy: Path) -> None:
    """Keep the highest fencing token: a restored one would let a stale holder write again."""
    has = "SELECT 1 FROM sqlite_schema WHERE name = ?"
    if live.execute(has, (_FENCE,)).fetchone() is None:
        return
    token = live.execute(f"SELECT fence FROM {_FENCE}").fetchone()  # noqa: S608 - our own table
    with closing(_connect(copy, "rw")) as connection:
        if connection.execute(has, (_FENCE,)).fetchone() is None:
            schema = live.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (_FENCE,)).fetchone()[0]
            connection.execute(bytes(schema).decode())
        if token is not None:
            connection.execute(f"INSERT OR REPLACE INTO {_FENCE} VALUES (1, ?)", token)  # noqa: S608


def _facts(path: Path, key: bytes, pulse: Pulse) -> Facts:
    with _explaining(path), closing(_connect(path, "ro&immutable=1")) as connection:
        return facts_of(connection, key, pulse)


def _remove_database(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(path, error) from None


def _explained(path: Path, error: sqlite3.Error) -> DeployguardError:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    hints = {
        "SQLITE_NOTADB": "It is not a database, or a damaged one.",
        "SQLITE_CORRUPT": "It is damaged: nothing good can come of a copy. Restore an earlier backup.",
        "SQLITE_FULL": "The disk is full: free some space and try again.",
        "SQLITE_BUSY": "Another process holds it locked: end its transaction and try again.",
        "SQLITE_READONLY": "Run as its owner, or give write permission on file and folder.",
    }
    hint = next((text for code, text in hints.items() if name.startswith(code)), "Look at the database and try again.")
    return StepFailed(f"SQLite refused {path} ({name})", hint=hint)
