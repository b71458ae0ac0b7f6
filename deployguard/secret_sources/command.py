"""Secrets that a command prints: any manager that has one."""

import os
import pwd
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from deployguard.errors import Refused, StepFailed, StepTimedOut
from deployguard.process import base_environment, capture
from deployguard.secret_sources.base import Found, SecretSource, text_of
from deployguard.visible import visible


class Command(SecretSource):
    """`{ from: command, command: [op, read, "op://deploy/field-key/password"], env: [OP_SERVICE_ACCOUNT_TOKEN] }`."""

    source: ClassVar[str] = "command"

    command: Annotated[list[str], Field(min_length=1)]
    """Program and words; no shell reads them. It runs in the runbook's folder."""
    env: tuple[str, ...] = ()
    """Names of further environment variables that it needs, such as the manager's own token."""
    timeout: Annotated[float, Field(gt=0, le=300)] = 30.0
    """Seconds."""

    def look_up(self, name: str, *, base: Path) -> Found:
        """What it prints, without the last line break.

        What it says on stderr is not repeated: some managers print there what they were asked for.
        """
        place, environment = f"{self.describe()} (secret {name})", base_environment()
        environment |= {key: os.environ[key] for key in self.env if key in os.environ}
        try:
            done = capture(self.command, cwd=base, env=environment, timeout=self.timeout)
        except (StepFailed, StepTimedOut) as error:
            raise Refused(f"{place}: {error.message}", hint=error.hint) from None
        if done.exit != 0:
            raise Refused(
                f"{place} ended with exit status {done.exit} as user {_user()}"
                f"{self._missing()}; it wrote {len(done.stderr)} bytes of errors, which are not shown",
                hint="Run it by hand as this user to see them; name the variables that it needs under env:.",
            )
        return Found(text_of(done.stdout, place))

    def _missing(self) -> str:
        missing = [key for key in self.env if key not in os.environ]
        return f" without {', '.join(missing)}, not set here" if missing else ""

    def describe(self) -> str:
        """The program's name; its words may be long."""
        return f"command {visible(self.command[0])}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user has a number only
        return str(os.getuid())
