"""The journal in a SQLite file: the default, for one machine.

SQLite (WAL, synchronous FULL) takes care of torn writes. A hash chain over the
events takes care of what SQLite cannot see: changed, removed or inserted rows. One
loss remains that neither shows: a damaged WAL frame makes SQLite drop the newest
commits silently. So the newest event's number and digest are also kept in a file
beside, written after each commit: it may lag behind the journal, never lead it.

Sources: sqlite.org/wal.html ("The WAL File Format"); RFC 2104 for the keyed chain.
"""

import hashlib
import hmac
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from deployguard.errors import Damaged, DeployguardError, LeaseLost, NotRecorded
from deployguard.journal.base import Record
from deployguard.journal.events import Event, LeaseTaken
from deployguard.journal.home import sync_folder
from deployguard.journal.lock import without_locks
from deployguard.secret import Secret

FORMAT = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, run TEXT NOT NULL, at TEXT NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, digest BLOB NOT NULL
) STRICT;
"""
_INSPECT = (
    "Run 'deployguard runs --inspect' to read what can be read; restore the file from its own backup if you have one."
)


_BUSY = 30.0
"""Seconds that are waited for others' locks."""
_NO_LOCKS = frozenset({"SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_IOERR_SHMLOCK", "SQLITE_IOERR_SHMMAP"})


class SqliteJournal:
    """Events in one file, mode 0600. Open it once per process; not for use by several threads."""

    def __init__(self, path: Path, *, key: Secret | None = None, now: type[datetime] = datetime) -> None:
        """Open or create the journal and check all of its chain.

        Args:
            path: the database file; its folder exists and is private.
            key: when given, the chain is an HMAC-SHA256 that only holders of the key can forge.
            now: source of the labels.

        Raises:
            Damaged: the file is not a journal, is of another format, or fails its chain.
        """
        self._path = path
        self._head = path.with_suffix(".head")
        self._key = key.reveal().encode() if key else None
        self._now = now
        self._seq = 0
        self._digest = b""
        self._fences: dict[str, int] = {}
        self._environments: dict[str, str] = {}
        self._known: list[Record] = []
        self._failed: NotRecorded | None = None
        self._connection = self._open(path)
        try:
            self._begin_chain()
            # read before the events: what another process appends in between is in the events alone, and no damage
            noted = self._noted()
            self._catch_up()
            self._check_head(noted)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, path: Path) -> sqlite3.Connection:
        if not path.exists():
            self._create(path)
        elif path.stat().st_size == 0 and self._head.exists():
            raise Damaged(f"the journal {path} is empty although events were once recorded in it", hint=_INSPECT)
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        try:
            _prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._unreadable(error) from error
        return connection

    def _create(self, path: Path) -> None:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            sync_folder(path.parent)
        except FileExistsError:
            return  # another process was faster; SQLite sorts out the rest
        except OSError as error:
            raise self._not_written(f"{path.name}: {error.strerror}") from error

    def _unreadable(self, error: sqlite3.Error) -> DeployguardError:
        code = getattr(error, "sqlite_errorname", "")
        if code in _NO_LOCKS:
            return without_locks(self._path.parent)
        if code == "SQLITE_READONLY" and os.access(self._path, os.W_OK):
            code += ": a form that is not ours"  # the file says so itself
        elif code.startswith(("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_READONLY")):
            return self._not_written(code)
        return Damaged(f"the journal {self._path} cannot be read ({code or type(error).__name__})", hint=_INSPECT)

    def _not_written(self, reason: str) -> NotRecorded:
        # an fsync that failed once may "succeed" the second time with the data lost: this connection is done
        self._failed = NotRecorded(
            f"the journal {self._path} cannot be written ({reason})",
            hint="Free some space or mend the disk, then run 'deployguard deploy --resume'.",
        )
        return self._failed

    def _begin_chain(self) -> None:
        try:
            with _immediate(self._connection):
                self._connection.execute("INSERT OR IGNORE INTO about VALUES ('format', ?)", (FORMAT,))
                self._connection.execute("INSERT OR IGNORE INTO about VALUES ('id', ?)", (uuid.uuid4().hex,))
                about = dict(self._connection.execute("SELECT name, value FROM about"))
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        if about.get("format") != FORMAT:
            raise Damaged(
                f"the journal {self._path} has format {about.get('format')}, this deployguard writes {FORMAT}",
                hint="Use the deployguard that wrote it, or set DEPLOYGUARD_HOME to begin a new one.",
            )
        if not isinstance(about.get("id"), str):
            raise Damaged(f"the journal {self._path} does not say which one it is", hint=_INSPECT)
        self._digest = self._link(b"", b"deployguard journal", about["id"].encode())

    def _link(self, previous: bytes, *parts: bytes) -> bytes:
        # lengths keep the parts apart: no two different events share one message
        message = previous + b"".join(len(p).to_bytes(8, "big") + p for p in parts)
        return hmac.digest(self._key, message, "sha256") if self._key else hashlib.sha256(message).digest()

    def _catch_up(self) -> None:
        """Read and check what was appended since last time, by us or by another process."""
        try:
            rows = self._connection.execute(
                "SELECT seq, run, at, kind, body, digest FROM events WHERE seq > ? ORDER BY seq", (self._seq,)
            ).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise Damaged(f"the journal {self._path} cannot be read after event {self._seq}", hint=_INSPECT) from error
        for seq, run, at, kind, body, digest in rows:
            if not all(isinstance(text, str) for text in (run, at, kind, body)) or not isinstance(digest, bytes):
                raise Damaged(
                    f"event {self._seq + 1} of the journal {self._path} is not what was recorded", hint=_INSPECT
                )
            expected = self._link(
                self._digest, str(seq).encode(), run.encode(), at.encode(), kind.encode(), body.encode()
            )
            if seq != self._seq + 1 or not hmac.compare_digest(expected, digest):
                raise Damaged(
                    f"event {self._seq + 1} of the journal {self._path} is not what was recorded", hint=_INSPECT
                )
            try:
                record = Record(seq, run, at, Event.parse(kind, body))
            except ValueError as error:
                raise Damaged(
                    f"event {seq} of the journal {self._path} is of a kind this deployguard does not know",
                    hint="Use the deployguard that wrote it.",
                ) from error
            self._learn(record, digest)

    def _learn(self, record: Record, digest: bytes) -> None:
        self._seq, self._digest = record.seq, digest
        self._known.append(record)
        if isinstance(record.event, LeaseTaken):
            self._fences[record.event.environment] = record.event.fence
            self._environments[record.run] = record.event.environment

    def _noted(self) -> tuple[int, str] | None:
        try:
            return newest_note(self._head.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Damaged(f"{self._head} is not what was written there", hint=_INSPECT) from error

    def _check_head(self, noted: tuple[int, str] | None) -> None:
        if noted is None:
            return
        witnessed, digest = noted
        if witnessed > self._seq:
            raise Damaged(
                f"the journal {self._path} ends at event {self._seq}, but event {witnessed} was recorded", hint=_INSPECT
            )
        found = self._connection.execute("SELECT hex(digest) FROM events WHERE seq = ?", (witnessed,)).fetchone()
        if found is None or found[0].lower() != digest:
            raise Damaged(f"event {witnessed} of the journal {self._path} is not the one recorded", hint=_INSPECT)

    def append(self, run: str, event: Event, *, fence: int | None = None) -> Record:
        """Make one event durable; when this returns, it survives a power cut, unless its kind says otherwise."""
        if self._failed is not None:
            raise self._failed
        try:
            with self._synced(event), _immediate(self._connection):
                self._catch_up()
                if fence is not None:
                    self._require(run, fence)
                record, digest = self._insert(run, event)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        self._learn(record, digest)
        if event.survives_power_cut:  # a note on one that is not synced might lead the journal
            self._witness()
        return record

    @contextmanager
    def _synced(self, event: Event) -> Iterator[None]:
        if event.survives_power_cut:
            yield
            return
        self._connection.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._connection.execute("PRAGMA synchronous=FULL")

    def _require(self, run: str, fence: int) -> None:
        environment = self._environments.get(run)
        newest = self._fences.get(environment or "", 0)
        if newest != fence:
            raise LeaseLost(
                f"run {run} lost the environment {environment}: lease {newest} came after its lease {fence}",
                hint="'deployguard runs' shows who holds it now.",
            )

    def take_lease(self, run: str, environment: str, *, at_least: int) -> int:
        """Record that this process may act on `environment` and return its fencing token."""
        from deployguard.process import started

        pid = os.getpid()
        if self._failed is not None:
            raise self._failed
        try:
            with _immediate(self._connection):
                self._catch_up()
                fence = max(self._fences.get(environment, 0) + 1, at_least)
                event = LeaseTaken(
                    environment=environment,
                    fence=fence,
                    host=os.uname().nodename,
                    pid=pid,
                    pid_started=started(pid) or 0.0,
                )
                record, digest = self._insert(run, event)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        self._learn(record, digest)
        self._witness()
        return fence

    def _insert(self, run: str, event: Event) -> tuple[Record, bytes]:
        seq, body = self._seq + 1, event.body()
        at = self._now.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        kind = type(event).__name__
        digest = self._link(self._digest, str(seq).encode(), run.encode(), at.encode(), kind.encode(), body.encode())
        self._connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (seq, run, at, kind, body, digest))
        return Record(seq, run, at, event), digest

    def _witness(self) -> None:
        try:
            fd = os.open(self._head, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                place = place_of_next_note(os.pread(fd, 2 * NOTE, 0))
                os.pwrite(fd, note_of(self._seq, self._digest.hex()), place)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._not_written(f"{self._head.name}: {error.strerror}") from error

    def records(self, run: str | None = None) -> Iterator[Record]:
        """All records, or those of one run, in order, each checked against the chain."""
        self._catch_up()
        return iter([r for r in self._known if run is None or r.run == run])

    def fence(self, environment: str) -> int:
        """The newest fencing token of an environment; 0 when it was never leased."""
        return self._fences.get(environment, 0)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


NOTE = 128
"""Bytes of one of the two notes in the file beside; the older is overwritten, so that a torn one leaves the other."""


def note_of(seq: int, digest: str) -> bytes:
    """A note on the newest event, which says of itself whether it is whole."""
    text = f"{seq} {digest}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:16]}".ljust(NOTE - 1).encode() + b"\n"


def newest_note(content: bytes) -> tuple[int, str] | None:
    """Number and digest (hex) of the newest event that was noted; None when the first note was never completed.

    Raises:
        ValueError: both notes are spoilt, which no crash does.
    """
    notes = [content[:NOTE], content[NOTE:]]
    whole = [_read(note) for note in notes if _is_whole(note)]
    if whole:
        return max(whole)
    if all(note.strip(b"\0") for note in notes):
        raise ValueError("no note is whole")
    return None


def place_of_next_note(content: bytes) -> int:
    """Where the next note goes: never over the newest whole one, however often the other was torn."""
    first, second = (_read(n) if _is_whole(n) else (0, "") for n in (content[:NOTE], content[NOTE:]))
    return NOTE if first > second else 0


def _read(note: bytes) -> tuple[int, str]:
    seq, digest = note.decode("ascii").split()[:2]
    return int(seq), digest


def _is_whole(note: bytes) -> bool:
    seq, digest = (*note.split(b" "), b"", b"")[:2]
    return seq.isdigit() and digest.isalnum() and note == note_of(int(seq), digest.decode("ascii"))


class _immediate:  # noqa: N801 - reads as a statement: with _immediate(connection)
    """A write transaction from the start: two appenders never both read the same end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def open_readable(path: Path) -> Iterator[tuple[int, str, str, str, bool]]:
    """What can be read of a damaged journal: (seq, run, at, kind, trusted), without believing any of it.

    `trusted` holds for events before the first break of an un-keyed chain.
    """
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="deployguard-") as folder:
        # reading a WAL database writes beside it, and what may be evidence is not touched
        copy = Path(folder) / path.name
        for suffix in ("", "-wal"):
            if (source := Path(f"{path}{suffix}")).exists():
                shutil.copyfile(source, f"{copy}{suffix}")
        try:
            with closing(sqlite3.connect(copy)) as connection:
                yield from _read_all(connection)
        except (sqlite3.Error, UnicodeDecodeError):
            return


def _read_all(connection: sqlite3.Connection) -> Iterator[tuple[int, str, str, str, bool]]:
    about = dict(connection.execute("SELECT name, value FROM about"))
    digest = hashlib.sha256(
        b"".join(len(p).to_bytes(8, "big") + p for p in (b"deployguard journal", str(about.get("id")).encode()))
    ).digest()
    trusted = True
    expected = 1
    for seq, run, at, kind, body, stored in connection.execute(
        "SELECT seq, run, at, kind, body, digest FROM events ORDER BY seq"
    ):
        parts = (str(seq).encode(), str(run).encode(), str(at).encode(), str(kind).encode(), str(body).encode())
        digest = hashlib.sha256(digest + b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()
        trusted = trusted and seq == expected and digest == stored
        expected += 1
        yield int(seq), str(run), str(at), str(kind), trusted


def _prepare(connection: sqlite3.Connection) -> None:
    """WAL, full synchronisation, the tables. SQLite itself does not wait where several make the same file at once."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return
