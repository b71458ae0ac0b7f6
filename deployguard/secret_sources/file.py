"""Secrets in files that only their owner can read."""

import os
import stat
from pathlib import Path
from typing import ClassVar

from deployguard.errors import Refused
from deployguard.secret import Secret
from deployguard.secret_sources.base import SecretSource

_LARGEST = 64 * 1024


class File(SecretSource):
    """`{ from: file, path: /run/secrets/field-key }`."""

    source: ClassVar[str] = "file"

    path: str

    def fetch(self, name: str, *, base: Path) -> Secret:
        """The file's text without its last line break.

        The file is opened once and judged by that descriptor, so that it cannot be
        exchanged between the look and the read. Source: open(2), O_NOFOLLOW.
        """
        path = base / self.path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(
                f"the file {path} (secret {name}) cannot be opened: {error.strerror}",
                hint="It must exist, be a regular file and not a symbolic link, and be readable by this user.",
            ) from error
        try:
            self._judge(os.fstat(fd), path, name)
            raw = os.read(fd, _LARGEST + 1)
        finally:
            os.close(fd)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"the file {path} (secret {name}) is not text", hint="Keep the key as base64 text.") from None
        return Secret(text.removesuffix("\n").removesuffix("\r"), name=name)

    @staticmethod
    def _judge(facts: os.stat_result, path: Path, name: str) -> None:
        wrong = ""
        if not stat.S_ISREG(facts.st_mode):
            wrong = "is not a regular file"
        elif facts.st_uid not in {os.getuid(), 0}:
            wrong = "belongs to another user"
        elif facts.st_mode & 0o077:
            wrong = f"is open to others (mode {stat.S_IMODE(facts.st_mode):04o})"
        elif facts.st_nlink != 1:
            wrong = "has more than one name (hard links)"
        elif facts.st_size > _LARGEST:
            wrong = f"is larger than {_LARGEST} bytes"
        elif path.parent.stat().st_mode & 0o002 and not path.parent.stat().st_mode & stat.S_ISVTX:
            wrong = "stands in a folder that anybody may write to"
        if wrong:
            raise Refused(
                f"the file {path} (secret {name}) {wrong}",
                hint=f"Run 'chmod 600 {path}', in a folder of its owner's; if others could read it, change the key.",
            )

    def describe(self) -> str:
        """The file's path."""
        return f"file {self.path}"
