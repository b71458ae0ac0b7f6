"""Where the values of some columns stand in files: exports, dumps and attachments in a folder.

Text in UTF-8 or UTF-16, as it is, in gzip or in zip, which office documents are too. Pictures,
sound, films and PDF are not looked into.
"""

import codecs
import gzip
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deployguard.rows.copies import Copy, Source, Unlooked, copied
from deployguard.rows.telling import Digests, cells_of
from deployguard.visible import visible

_CHUNK = 128 * 1024
_OF_FILE = 64 * 1024 * 1024
"""Bytes of one file that are looked at, unpacked."""
_OF_ALL = 512 * 1024 * 1024
"""Bytes of all files together."""
_FILES = 100_000
_LAP = 512
"""Characters that are read twice where a portion ends within a line, so that no value is cut in half."""
_UNREADABLE = (
    OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError
)  # fmt: skip
_TEXTS = {".csv", ".tsv", ".json", ".jsonl", ".xml", ".sql", ".txt", ".log", ".xlsx", ".ods", ".gz", ".zip", ".html"}
"""What exports are called; looked at first."""
_OPAQUE = {
    *(".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".bmp", ".tif", ".tiff", ".heic", ".avif"),
    *(".mp3", ".mp4", ".m4a", ".mov", ".avi", ".webm", ".ogg", ".wav", ".woff", ".woff2", ".ttf", ".otf"),
    *(".pdf", ".7z", ".rar", ".xz", ".bz2", ".zst", ".age", ".gpg"),
}


@dataclass
class FileSearch:
    """One search through folders.

    Attributes:
        left: seconds of the search that are left.
    """

    digests: Digests
    sources: Sequence[Source]
    left: Callable[[], float]
    unlooked: list[Unlooked] = field(default_factory=list)
    _bytes: int = _OF_ALL

    def find(self, folder: Path) -> Iterator[Copy]:
        """Look through a folder, likely exports first, then the newest; links are not followed."""
        if not folder.is_dir():
            self.unlooked.append(Unlooked(f"{folder}", "there is no such folder"))
            return
        files, opaque = _files(folder)
        looked = 0
        for path in files:
            if self.left() <= 0 or self._bytes <= 0:
                break
            looked += 1
            yield from self._in_file(path, folder)
        if looked < len(files):
            seen = f"{looked:,} of {len(files):,} files were looked at"
            self.unlooked.append(Unlooked(f"{folder.name}/", seen, partly=True))
        if opaque:
            why = f"{opaque:,} files hold no plain text (pictures, PDF and the like)"
            self.unlooked.append(Unlooked(f"{folder.name}/", why, partly=True))

    def _in_file(self, path: Path, folder: Path) -> Iterator[Copy]:
        found: set[int] = set()
        name, before = self._shown(path, folder), self._bytes
        try:
            for text in self._texts(path):
                found |= self.digests.found_in(cells_of(text))
                if self.left() <= 0 or self._bytes <= 0 or before - self._bytes > _OF_FILE:
                    mib = (before - self._bytes) / 2**20
                    self.unlooked.append(Unlooked(name, f"{mib:.0f} MiB of it were looked at", partly=True))
                    break
        except _UNREADABLE as error:
            self.unlooked.append(Unlooked(name, f"it could not be read ({type(error).__name__})"))
        yield from copied(name, "file", found, self.sources, self.digests)

    def _shown(self, path: Path, folder: Path) -> str:
        """A file's name, unless that holds a value itself."""
        inside = path.relative_to(folder)
        if self.digests.found_in(cells_of(str(inside))):
            return f"{folder.name}/… (its name holds a value; inode {path.lstat().st_ino})"
        return visible(f"{folder.name}/{inside}")

    def _texts(self, path: Path) -> Iterator[str]:
        with _opened(path) as stream:
            head = stream.read(4)
            stream.seek(0)
            if head.startswith(b"PK\x03\x04"):
                yield from self._of_zip(stream)
            elif head.startswith(b"\x1f\x8b"):
                with gzip.open(stream) as unpacked:
                    yield from self._portions(unpacked)
            else:
                yield from self._portions(stream)

    def _of_zip(self, stream: IO[bytes]) -> Iterator[str]:
        with zipfile.ZipFile(stream) as packed:
            for member in packed.infolist():
                if not member.is_dir() and Path(member.filename).suffix.lower() not in _OPAQUE:
                    with packed.open(member) as unpacked:
                        yield from self._portions(unpacked)

    def _portions(self, stream: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
        """A text in portions that end with a line, or else begin with the end of the one before."""
        kept, decode = "", None
        while chunk := stream.read(_CHUNK):
            self._bytes -= len(chunk)
            decode = decode or codecs.getincrementaldecoder(_encoding(chunk))("replace").decode
            text = kept + decode(chunk)
            end = text.rfind("\n") + 1
            yield text[: end or len(text)]
            kept = text[end:] if end else text[-_LAP:]
        if kept:
            yield kept


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    # what was a file a moment ago may be a link or a pipe by now
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError
        yield stream


def _files(folder: Path) -> tuple[list[Path], int]:
    """Files to look at, in order; and how many hold no plain text."""
    found: list[tuple[bool, float, Path]] = []
    opaque = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.suffix.lower() in _OPAQUE:
                opaque += 1
                continue
            try:
                facts = path.lstat()
            except OSError:
                continue  # it is gone
            if stat.S_ISREG(facts.st_mode) and len(found) < _FILES:
                found.append((path.suffix.lower() not in _TEXTS, -facts.st_mtime, path))
    return [path for _, _, path in sorted(found)], opaque


def _encoding(begin: bytes) -> str:
    return "utf-16" if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
