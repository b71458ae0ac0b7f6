"""Files that are all there after a crash, or not there at all."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deployguard.errors import Refused, StepFailed

PARTIAL = ".partial"
"""Ends the name of a folder that is still being written. It is no backup."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says into an error with a hint."""
    try:
        yield
    except OSError as error:
        raise StepFailed(
            f"{path}: {error.strerror or type(error).__name__}",
            hint="Free some space or give write permission, then try again; an unfinished backup never counts.",
        ) from error


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may look into.

    Raises:
        Refused: it is there already and is a link, somebody else's, or open to others.
    """
    with explained(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise Refused(
            f"{path} is not a folder that only you can read (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"Run 'chmod 0700 {path}' after a look at what is in it, or name another folder.",
        )


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a folder while it is being written. The kernel lets go of it when we die.

    Raises:
        Refused: another process holds it.
    """
    fd = _locked(path)
    if fd is None:
        raise Refused(f"{path} is being written by another process", hint="Wait until it has ended, then try again.")
    try:
        yield
    finally:
        os.close(fd)


def _locked(path: Path) -> int | None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """An empty folder for this block alone; what a killed process has left in it goes first, and all of it at the end.

    Args:
        path: ends in `.partial`, so that it passes for no backup.
    """
    private_folder(path)
    with held(path):
        empty(path)
        try:
            yield path
        finally:
            remove(path)


def empty(folder: Path) -> None:
    """Remove what is in a folder."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def abandoned(folder: Path) -> list[Path]:
    """Folders that are half written, and that nobody is writing any more."""
    found = sorted(folder.glob(f"*{PARTIAL}")) if folder.is_dir() else []
    return [path for path in found if path.is_dir() and not path.is_symlink() and _is_free(path)]


def _is_free(path: Path) -> bool:
    fd = _locked(path)
    if fd is None:
        return False
    os.close(fd)
    return True


def create(path: Path) -> BinaryIO:
    """A new file, 0600 from its first byte; never one that is there already."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "w+b")


def to_disk(stream: BinaryIO) -> None:
    """Return once the bytes are on the disk, and forget them here: who reads next, reads the disk."""
    stream.flush()
    os.fsync(stream.fileno())
    os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(path: Path) -> None:
    """Return once the names in a folder are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(partial: Path, final: Path) -> None:
    """Give a finished folder its name, as the last act."""
    sync_folder(partial)
    partial.rename(final)
    sync_folder(final.parent)


def remove(path: Path) -> None:
    """Remove a folder so that a crash on the way leaves nothing that could pass for a backup."""
    if path.name.endswith(PARTIAL):
        shutil.rmtree(path)
        return
    doomed = path.with_name(path.name + PARTIAL)
    path.rename(doomed)
    sync_folder(path.parent)
    shutil.rmtree(doomed)
