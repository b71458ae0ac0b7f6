"""Secrets in a file of `NAME=value` lines."""

import re
from pathlib import Path
from typing import ClassVar

from deployguard.errors import Refused
from deployguard.secret_sources.base import Found, SecretSource
from deployguard.secret_sources.opened import read_private

_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=(?P<value>.*)")
# shells, Docker and the libraries each read the rest in a way of their own, so it is refused
_BARE = re.compile(r"""[^\s'"\\$`#]*""")
_QUOTED = re.compile(r"""'(?P<single>[^'\\]*)'|"(?P<double>[^"\\$`]*)\"""")


class Dotenv(SecretSource):
    """`{ from: dotenv, path: .env, name: MESSAGE_ENCRYPTION_KEY }`."""

    source: ClassVar[str] = "dotenv"

    path: str = ".env"
    name: str

    def look_up(self, name: str, *, base: Path) -> Found:
        """The value, where every reader of such files agrees what it is.

        Raises:
            Refused: also when the name stands there twice, or with escapes, references or a comment behind it.
        """
        lines = read_private(base / self.path, name).split("\n")
        values = [found["value"] for line in lines if (found := _LINE.fullmatch(line)) and found["name"] == self.name]
        place = f"{self.describe()} (secret {name})"
        if len(values) != 1:
            raise Refused(f"{place} is there {len(values)} times", hint=f"Write one line: {self.name}=…")
        value = _value(values[0].strip())
        if value is None:
            raise Refused(
                f"{place} is written in a way that programs read differently (escapes, $, #, open quotes)",
                hint="Write the value in single quotes and nothing after it, or use from: file.",
            )
        return Found(value)

    def describe(self) -> str:
        """The file's path and the name in it."""
        return f"{self.name} in {self.path}"


def _value(text: str) -> str | None:
    if found := _QUOTED.fullmatch(text):
        return found["single"] if found["single"] is not None else found["double"]
    return text if _BARE.fullmatch(text) else None
