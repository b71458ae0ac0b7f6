"""The files that a log has become: found by inode and first bytes, in the order in which they were written."""

import bz2
import gzip
import hashlib
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What a file that is not whole raises when it is read."""
_PACKED: dict[str, Callable[[BinaryIO], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SECOND = 1_000_000_000
_HEAD = 1024
_ATTEMPTS = 5
_NUMBER = 4
"""Digits up to which a label is the number of a rotation, and no date."""


@dataclass(frozen=True)
class Place:
    """How far a file was read, and how it is known again.

    Attributes:
        inode: 0 where there was no file.
        at: bytes, not packed.
        head: digest of the first `known` bytes.
        written: when it was last written to, or looked for in vain, in ns since 1970.
    """

    inode: int = 0
    at: int = 0
    known: int = 0
    head: str = ""
    written: int = 0


class File:
    """One of them, held open: that it is renamed or removed meanwhile changes nothing."""

    def __init__(self, path: Path, label: str | None, packed: str) -> None:
        self._stream = path.open("rb")
        facts = os.fstat(self._stream.fileno())
        self.path, self.label, self.packed = path, label, packed
        self.inode, self.size, self.written = facts.st_ino, facts.st_size, facts.st_mtime_ns

    def close(self) -> None:
        """Let it go."""
        self._stream.close()

    def plain(self, at: int = 0) -> IO[bytes]:
        """Its bytes, unpacked, from a place on."""
        self._stream.seek(0)
        if self.packed and self.packed not in _PACKED:
            raise OSError(f"{self.packed} is not read here")
        stream: IO[bytes] = _PACKED[self.packed](self._stream) if self.packed else self._stream
        stream.seek(at)
        return stream

    def place(self, at: int) -> Place:
        """Read up to there."""
        known = min(at, _HEAD)
        return Place(self.inode, at, known, self._head(known), self.written)

    def is_at(self, place: Place) -> bool:
        """Whether it is that very file, no matter what it is called now."""
        return not self.packed and self.inode == place.inode and self._begins_as(place)

    def is_copy_of(self, place: Place) -> bool:
        """Whether it was that file: packed since, or copied away before that was shortened in place."""
        # bzip2 keeps the second only
        return place.known > 0 and self.written // _SECOND >= place.written // _SECOND and self._begins_as(place)

    def _begins_as(self, place: Place) -> bool:
        if not self.packed and self.size < place.at:
            return False
        return not place.known or self._head(place.known) == place.head

    def _head(self, known: int) -> str:
        with suppress(*UNREADABLE):
            return hashlib.sha256(self.plain().read(known)).hexdigest()[:16]
        return ""


@contextmanager
def opened(path: Path, label: str | None = None, packed: str = "") -> Iterator[File | None]:
    """One file; None where there is none."""
    try:
        file = File(path, label, packed)
    except FileNotFoundError:
        yield None
        return
    try:
        yield file
    finally:
        file.close()


@contextmanager
def files_of(path: Path) -> Iterator[list[File]]:
    """All that its name leads to, oldest first: those that are labelled, then any other name, the file itself last.

    Opened together: a rotation while they are opened is noticed, and they are opened anew.

    Source: logrotate(8), `compress`, `dateext`, `extension`; Python's logging.handlers.
    """
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            found = [stack.enter_context(opened(*each)) for each in _names(path)]
            if _inodes(path) == {file.path: file.inode for file in found if file is not None}:
                yield _in_order([file for file in found if file is not None], path)
                return
    raise OSError("it is rotated again and again")


def _names(path: Path) -> Iterator[tuple[Path, str | None, str]]:
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    label = r"[._-](?P<label>\d(?:[\dT:._-]*\d)?)"
    form = re.compile(rf"(?:{stem}{suffix}{label}|{stem}{label.replace('label', 'inner')}{suffix})(?P<packed>\.\w+)?")
    for each in path.parent.iterdir():
        if not each.name.startswith(path.stem) or not each.is_file():
            continue
        match = form.fullmatch(each.name)
        if match and match["packed"] in {None, *_PACKED, ".zst"}:
            yield each, match["label"] or match["inner"], match["packed"] or ""
        elif each.name.startswith(path.name):
            yield each, None, ""


def _inodes(path: Path) -> dict[Path, int]:
    found = {}
    for each, _, _ in _names(path):
        with suppress(FileNotFoundError):
            found[each] = each.stat().st_ino
    return found


def _in_order(files: list[File], path: Path) -> list[File]:
    labels = {file.label for file in files if not file.packed}
    # while it is being packed both are there: the packed one is not whole yet
    kept = [file for file in files if not file.packed or file.label not in labels]
    # a link that changes with each rotation leads to a file that is here by its own name too
    here = {file.inode for file in kept if file.path == path}
    kept = [file for file in kept if file.path == path or file.inode not in here]
    numbered = {_is_number(file.label) for file in kept if file.label is not None}
    return sorted(kept, key=lambda file: (file.path == path, *_rank(file, by_label=len(numbered) == 1)))


def _is_number(label: str) -> bool:
    return label.isdigit() and len(label) <= _NUMBER


def _rank(file: File, *, by_label: bool) -> tuple[bool, int, str, int]:
    if file.label is None or not by_label:
        return file.label is None, 0, "", file.written
    number = _is_number(file.label)
    return False, -int(file.label) if number else 0, "" if number else file.label, file.written
