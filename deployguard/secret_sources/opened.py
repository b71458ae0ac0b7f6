"""Files that only their owner can read, opened so that they cannot be exchanged meanwhile."""

import os
import stat
from pathlib import Path

from deployguard.errors import Refused
from deployguard.secret_sources.base import LARGEST, text_of

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def read_private(path: Path, name: str) -> str:
    """The file's text without its last line break.

    The file is opened once and judged by that descriptor, so that it cannot be
    exchanged between the look and the read. Source: open(2), O_NOFOLLOW.

    Raises:
        Refused: it is not there, or is not a regular UTF-8 file of at most 64 KiB under one name,
            owned by this user or root, closed to all others, in a folder that not everybody may write to.
    """
    place = f"the file {path} (secret {name})"
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise Refused(
            f"{place} cannot be opened by user {os.getuid()}: {getattr(error, 'strerror', 'not a path')}",
            hint="It must exist, be a regular file and not a symbolic link, and be readable by this user.",
        ) from None
    try:
        if wrong := _wrong_with(os.fstat(fd), path.parent):
            raise Refused(
                f"{place} {wrong}",
                hint=f"Run 'chmod 600 {path}', in a folder of its owner's; if others could read it, change the key.",
            )
        return text_of(os.read(fd, LARGEST + 1), place)
    finally:
        os.close(fd)


def _wrong_with(facts: os.stat_result, folder: Path) -> str:
    if not stat.S_ISREG(facts.st_mode):
        return "is not a regular file"
    if facts.st_uid not in {os.getuid(), 0}:
        return "belongs to another user"
    if facts.st_mode & 0o077:
        return f"is open to others (mode {stat.S_IMODE(facts.st_mode):04o})"
    if facts.st_nlink != 1:
        return f"has {facts.st_nlink} names (hard links)"
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return "stands in a folder that anybody may write to"
    return ""
