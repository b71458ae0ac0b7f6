"""Secrets in files that only their owner can read."""

from pathlib import Path
from typing import ClassVar

from deployguard.secret_sources.base import Found, SecretSource
from deployguard.secret_sources.opened import read_private


class File(SecretSource):
    """`{ from: file, path: /run/secrets/field-key }`."""

    source: ClassVar[str] = "file"

    path: str

    def look_up(self, name: str, *, base: Path) -> Found:
        """The file's text without its last line break."""
        return Found(read_private(base / self.path, name))

    def describe(self) -> str:
        """The file's path."""
        return f"file {self.path}"
