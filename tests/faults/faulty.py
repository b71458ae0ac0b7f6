"""A disk that fails on purpose: SQLite's own file layer, and the few calls the journal makes beside it.

SQLite lets a program put a file system of its own under it (sqlite3_vfs_register). This one
passes everything on to the usual one, counts each act that changes the disk, and at the Nth

    kill    ends the process by SIGKILL before the act
    torn    ends the process by SIGKILL after half of the bytes
    eio     has this one act fail with EIO
    enospc  has this and every later act fail with ENOSPC, after half of the bytes

Source: sqlite.org/c3ref/vfs.html, sqlite.org/c3ref/io_methods.html.
"""

import _sqlite3
import ctypes
import errno
import os
import signal
from pathlib import Path

KINDS = ("kill", "torn", "eio", "enospc")
SQLITE_OK, SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, SQLITE_IOERR_TRUNCATE = 0, 13, 778, 1034, 1546

P, I, I64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64  # noqa: E741
WRITE = ctypes.CFUNCTYPE(I, P, P, I, I64)
SYNC = ctypes.CFUNCTYPE(I, P, I)
TRUNCATE = ctypes.CFUNCTYPE(I, P, I64)
OPEN = ctypes.CFUNCTYPE(I, P, P, P, I, ctypes.POINTER(I))  # the name is kept by address, so it may not be converted
DELETE = ctypes.CFUNCTYPE(I, P, P, I)


class Methods(ctypes.Structure):
    _fields_ = (
        ("version", I), ("close", P), ("read", P), ("write", P), ("truncate", P), ("sync", P),
        ("rest", P * 14),
    )  # fmt: skip


class Vfs(ctypes.Structure):
    _fields_ = (
        ("version", I), ("size", I), ("longest", I), ("next", P), ("name", ctypes.c_char_p), ("data", P),
        ("open", P), ("delete", P), ("rest", P * 14),
    )  # fmt: skip


class Disk:
    """Counts what changes the disk. Subclasses decide what becomes of it."""

    def __init__(self):
        self.acts = 0
        self.names = []

    def act(self, name, write_half):  # noqa: ARG002
        """None to let the act happen, or an errno with which it fails."""
        self.acts += 1
        self.names.append(name)


class FaultyDisk(Disk):
    """Fails at one act, in one way."""

    def __init__(self, kind, at):
        super().__init__()
        self.kind, self.at = kind, at
        self.fired = False

    def act(self, name, write_half):
        super().act(name, write_half)
        if self.acts < self.at or (self.acts > self.at and self.kind != "enospc"):
            return None
        self.fired = True
        if self.kind in {"torn", "enospc"}:
            write_half()
        if self.kind in {"kill", "torn"}:
            os.kill(os.getpid(), signal.SIGKILL)
        return errno.EIO if self.kind == "eio" else errno.ENOSPC


def text_at(address):
    """The text that SQLite keeps at an address."""
    return os.fsdecode(ctypes.string_at(address)) if address else ""


class Installed:
    """A disk under everything that SQLite and the journal write from now on in this process."""

    def __init__(self, disk):
        self.disk = disk
        self.paths = {}
        self._kept = []
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))  # None: SQLite is part of the interpreter
        library.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
        usual = library.sqlite3_vfs_find(None).contents
        self._open = OPEN(usual.open)
        self._delete = DELETE(usual.delete)
        self._vfs = Vfs.from_buffer_copy(usual)
        self._vfs.next, self._vfs.name = None, b"faulty"
        callbacks = OPEN(self._opened), DELETE(self._deleted)
        self._vfs.open, self._vfs.delete = (ctypes.cast(c, P).value for c in callbacks)
        self._kept += [library, callbacks]
        if library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) != SQLITE_OK:
            raise RuntimeError("the faulty file layer cannot be registered")
        self._beside_sqlite()

    def _opened(self, vfs, name, file, flags, out):
        code = self._open(vfs, name, file, flags, out)
        methods = ctypes.cast(file, ctypes.POINTER(ctypes.POINTER(Methods)))
        if code == SQLITE_OK and methods[0]:
            self.paths[file] = text_at(name)
            mine = Methods.from_buffer_copy(methods[0].contents)
            write, sync, truncate = WRITE(mine.write), SYNC(mine.sync), TRUNCATE(mine.truncate)
            ours = (
                WRITE(lambda f, data, size, at: self._write(write, f, data, size, at)),
                SYNC(lambda f, how: self._sync(sync, f, how)),
                TRUNCATE(lambda f, size: self._truncate(truncate, f, size)),
            )
            mine.write, mine.sync, mine.truncate = (ctypes.cast(c, P).value for c in ours)
            self._kept.append((mine, ours))
            methods[0] = ctypes.pointer(mine)
        return code

    def _write(self, usual, file, data, size, at):
        failed = self.disk.act(f"write {self._name(file)}", lambda: usual(file, data, size // 2, at))
        if failed:
            return SQLITE_FULL if failed == errno.ENOSPC else SQLITE_IOERR_WRITE
        self.wrote(self.paths[file], at, ctypes.string_at(data, size))
        return usual(file, data, size, at)

    def _sync(self, usual, file, how):
        if self.disk.act(f"sync {self._name(file)}", lambda: None):
            return SQLITE_IOERR_FSYNC
        self.synced(self.paths[file])
        return usual(file, how)

    def _truncate(self, usual, file, size):
        if self.disk.act(f"truncate {self._name(file)}", lambda: None):
            return SQLITE_IOERR_TRUNCATE
        self.cut(self.paths[file], size)
        return usual(file, size)

    def _deleted(self, vfs, name, sync_folder):
        if self.disk.act(f"delete {Path(text_at(name)).name}", lambda: None):
            return SQLITE_IOERR_WRITE
        return self._delete(vfs, name, sync_folder)

    def _name(self, file):
        return Path(self.paths[file]).name

    def wrote(self, path, at, data):
        """For subclasses: these bytes are on their way to the disk."""

    def synced(self, path):
        """For subclasses: everything written to this file so far is on the disk."""

    def cut(self, path, size):
        """For subclasses: the file's length changes."""

    def _beside_sqlite(self):
        """The journal's own calls: making its file, and the note on the newest event."""
        usual_open, usual_pwrite, usual_fsync = os.open, os.pwrite, os.fsync
        paths = {}

        def fail(number):
            if number:
                raise OSError(number, os.strerror(number))

        def opened(path, flags, *rest, **named):
            ours = Path(path).name.startswith("journal.")
            if ours and flags & os.O_CREAT and not Path(path).exists():
                fail(self.disk.act(f"create {Path(path).name}", lambda: None))
            fd = usual_open(path, flags, *rest, **named)
            paths[fd] = str(path) if ours else None
            return fd

        def pwrite(fd, data, at):
            if paths.get(fd):
                fail(self.disk.act("write journal.head", lambda: usual_pwrite(fd, data[: len(data) // 2], at)))
                self.wrote(paths[fd], at, bytes(data))
            return usual_pwrite(fd, data, at)

        def fsync(fd):
            fail(self.disk.act("sync folder", lambda: None))
            return usual_fsync(fd)

        os.open, os.pwrite, os.fsync = opened, pwrite, fsync
