"""A command that ends well, or whose output lacks a pattern: `journalctl`, or anything else."""

import re

from deployguard.steps.base import Context, show
from deployguard.steps.conditions.base import Condition, Cursor, Look, Observation, Pattern


class Command(Condition):
    """A command that exits with 0, and prints no line that it should not."""

    command: tuple[str, ...]
    """Program and words; it runs in the working copy and is not given to a shell."""
    absent: Pattern | None = None
    """A regular expression that no line of the end of its output (8 KiB) may match."""

    def name(self) -> str:
        """The command, as it could be pasted into a shell."""
        return f"command {show(self.command)}"

    def former_name(self) -> str:
        """The program alone."""
        return f"command {self.command[0]}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:  # noqa: ARG002 - each look runs it anew
        """Each look runs it."""

        def look() -> Observation:
            result = context.command(self.command)
            if result.exit != 0:
                return Observation(False, result.describe())
            if self.absent is None:
                return Observation(True, result.describe())
            found = sum(1 for line in result.tail.splitlines() if re.search(self.absent, line))
            return Observation(found == 0, f"{found} matching lines")

        return look
