"""Secrets in environment variables, as the guide keeps its key."""

import os
from pathlib import Path
from typing import ClassVar

from deployguard.errors import Refused
from deployguard.secret_sources.base import Found, SecretSource


class Environment(SecretSource):
    """`{ from: env, name: MESSAGE_ENCRYPTION_KEY }`."""

    source: ClassVar[str] = "env"

    name: str

    def look_up(self, name: str, *, base: Path) -> Found:  # noqa: ARG002 - a variable has no folder
        """The variable's value, whitespace and all."""
        value = os.environ.get(self.name)
        if value is None:
            raise Refused(
                f"the environment variable {self.name} (secret {name}) is not set",
                hint="Set it where deployguard runs. For a new key: "
                f'export {self.name}="$(deployguard keys generate)", '
                "and save the key where it cannot be lost before you encrypt anything.",
            )
        return Found(value)

    def describe(self) -> str:
        """The variable's name."""
        return f"environment variable {self.name}"
