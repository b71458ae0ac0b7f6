"""The dump's file: written once, read back to its last byte before anything is done with it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from deployguard.backup.base import Pulse, Source, Tally
from deployguard.backup.durable import create, explained, to_disk
from deployguard.backup.layers import LAYERS, Identity, Sink, unwrapped, wrap
from deployguard.backup.manifest import NAME, Manifest, Stored, damaged
from deployguard.errors import Damaged, Refused

CHUNK = 1024 * 1024
"""Bytes that are in memory at a time."""


class Counted:
    """Bytes on their way, counted and digested."""

    def __init__(self, label: str, pulse: Pulse, total: int | None = None) -> None:
        self._digest, self._tally = hashlib.sha256(), Tally(label, total, pulse)

    def take(self, data: bytes) -> None:
        """Count some more; none at the end."""
        self._digest.update(data)
        self._tally.add(len(data))
        if not data:
            self._tally.end()

    @property
    def bytes(self) -> int:
        """How many there were."""
        return self._tally.done

    @property
    def sha256(self) -> str:
        """Of all that was counted."""
        return self._digest.hexdigest()


class Reading:
    """A stream whose bytes are counted as they are read."""

    def __init__(self, source: Source, counted: Counted) -> None:
        self._source, self.counted = source, counted

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        data = self._source.read(size)
        self.counted.take(data)
        return data


class _Writing:
    def __init__(self, sink: BinaryIO, counted: Counted) -> None:
        self._sink, self.counted = sink, counted

    def write(self, data: bytes, /) -> int:
        self.counted.take(data)
        return self._sink.write(data)

    def flush(self) -> None:
        self._sink.flush()


def store(dump: BinaryIO, path: Path, recipients: Sequence[Any], pulse: Pulse, total: int | None = None) -> Stored:
    """Write a dump to its file, through to the disk.

    Args:
        dump: read to its end.
        path: of the file; `.zst.age` is added where it is encrypted.
        recipients: public keys; none: it is written as it comes.
        pulse: called for every megabyte or so.
        total: bytes that the dump will have, about.
    """
    path = path.with_name(path.name + (".zst.age" if recipients else ""))
    plain = Reading(dump, Counted("writing the backup", pulse, total))
    written = Counted("writing the backup", lambda *_: None)
    with explained(path), create(path) as stream:
        _pour(plain, _Writing(stream, written), recipients)
        to_disk(stream)
    return Stored(
        path.name, written.bytes, written.sha256, plain.counted.bytes, plain.counted.sha256,
        LAYERS if recipients else (),
    )  # fmt: skip


def _pour(source: Source, sink: Sink, recipients: Sequence[Any]) -> None:
    if recipients:
        wrap(source, sink, recipients)
        return
    while chunk := source.read(CHUNK):
        sink.write(chunk)


@dataclass(frozen=True)
class Files:
    """A backup's files on this machine, and what they should be.

    Attributes:
        where: the backup is, for messages: the files may be a copy of it.
    """

    folder: Path
    manifest: Manifest
    where: str

    def damaged(self, what: str) -> Damaged:
        """The error for files that are not what was once written."""
        return damaged(self.where, what)


def check(files: Files, pulse: Pulse) -> None:
    """Make sure that the folder holds what the manifest says, byte for byte, and nothing else.

    Raises:
        Damaged: it does not.
    """
    stored = files.manifest.stored
    found = {entry.name for entry in files.folder.iterdir()} - {NAME}
    if found != {stored.name}:
        extra, missing = found - {stored.name}, {stored.name} - found
        raise files.damaged(f"lacks {missing.pop()}" if missing else f"has foreign files in it: {len(extra)}")
    path = files.folder / stored.name
    if path.is_symlink() or not path.is_file() or path.stat().st_size != stored.bytes:
        raise files.damaged(f"has a dump that is not {stored.bytes:,} bytes long")
    with path.open("rb", buffering=0) as stream:
        read = Reading(stream, Counted("checking the backup", pulse, stored.bytes))
        _drain(read)
    if read.counted.sha256 != stored.sha256:
        raise files.damaged("has a dump that was changed")


def _drain(stream: Source) -> None:
    while stream.read(CHUNK):
        pass


@contextmanager
def opened(
    files: Files, identities: Sequence[Identity], pulse: Pulse, label: str = "restoring a copy"
) -> Iterator[Source]:
    """The dump as the product wrote it. Nothing that was not encrypted touches the disk.

    Leaving reads what is left and compares the whole, so whoever leaves without an error
    has had every byte and no other.

    Raises:
        Refused: it is encrypted, and no identity that opens it is given.
        Damaged: it is not what was once written.
    """
    manifest, stored = files.manifest, files.manifest.stored
    if manifest.encrypted and not identities:
        raise Refused(
            f"the backup {files.where} is encrypted",
            hint="Name the private key of one of its recipients: identity: in the step, or --identity.",
        )
    with (files.folder / stored.name).open("rb") as stream, _plain(stream, manifest, identities) as plain:
        reading = Reading(plain, Counted(label, pulse, stored.plain_bytes))
        yield reading
        _drain(reading)
        if (reading.counted.bytes, reading.counted.sha256) != (stored.plain_bytes, stored.plain_sha256):
            raise files.damaged("does not decrypt to what was dumped")


@contextmanager
def _plain(stream: BinaryIO, manifest: Manifest, identities: Sequence[Identity]) -> Iterator[Source]:
    if not manifest.encrypted:
        yield stream
        return
    with unwrapped(stream, identities) as plain:
        yield plain


def read_back(files: Files, identities: Sequence[Identity], pulse: Pulse) -> None:
    """Decrypt and decompress it to the end, and keep nothing. For what is not encrypted, `check` has done it.

    Raises:
        Refused, Damaged: as `opened`.
    """
    if files.manifest.encrypted:
        with opened(files, identities, pulse, "decrypting the backup"):
            pass
