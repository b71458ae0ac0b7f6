"""The dump's file: written once, read back to its last byte before anything is done with it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deployguard.backup.base import Pulse
from deployguard.backup.durable import create, explained, to_disk
from deployguard.backup.manifest import NAME, Manifest, Stored, damaged

CHUNK = 1024 * 1024
"""Bytes that are in memory at a time."""


def store(dump: BinaryIO, path: Path, pulse: Pulse) -> Stored:
    """Write a dump to its file, through to the disk."""
    digest, size = hashlib.sha256(), 0
    with explained(path), create(path) as stream:
        while chunk := dump.read(CHUNK):
            stream.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            pulse("writing the backup", size, None)
        to_disk(stream)
    return Stored(path.name, size, digest.hexdigest(), size, digest.hexdigest())


def check(folder: Path, manifest: Manifest, pulse: Pulse) -> None:
    """Make sure that the folder holds what the manifest says, byte for byte, and nothing else.

    Raises:
        Damaged: it does not.
    """
    found = {entry.name for entry in folder.iterdir()} - {NAME}
    if found != {manifest.stored.name}:
        extra, missing = found - {manifest.stored.name}, {manifest.stored.name} - found
        what = f"lacks {', '.join(map(repr, missing))}" if missing else f"has foreign files: {len(extra)}"
        raise damaged(folder, what)
    path = folder / manifest.stored.name
    if path.is_symlink() or not path.is_file() or path.stat().st_size != manifest.stored.bytes:
        raise damaged(folder, f"has a dump that is not {manifest.stored.bytes:,} bytes long")
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            pulse("reading the backup", size, manifest.stored.bytes)
    if digest.hexdigest() != manifest.stored.sha256:
        raise damaged(folder, "has a dump that was changed")


@contextmanager
def opened(folder: Path, stored: Stored) -> Iterator[BinaryIO]:
    """The dump as the product wrote it."""
    with (folder / stored.name).open("rb") as stream:
        yield stream
