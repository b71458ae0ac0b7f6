"""A command that ends well, or whose output lacks a pattern: `journalctl`, or anything else."""

import re

from deployguard.steps.base import Context, show
from deployguard.steps.conditions.base import Condition, Cursor, Look, Observation, Pattern

_LONGEST = 1024 * 1024


class Command(Condition):
    """A command that exits with 0, and prints no line that it should not."""

    command: tuple[str, ...]
    """Program and words; it runs in the working copy and is not given to a shell."""
    absent: Pattern | None = None
    """A regular expression that no line that it prints may match; of a line, the first MiB is looked at."""

    def name(self) -> str:
        """The command, as it could be pasted into a shell."""
        return f"command {show(self.command)}"

    def former_name(self) -> str:
        """The program alone."""
        return f"command {self.command[0]}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:  # noqa: ARG002 - each look runs it anew
        """Each look runs it."""

        def look() -> Observation:
            lines = _Lines(re.compile(self.absent)) if self.absent is not None else None
            result = context.command(self.command, on_output=lines.take if lines else None)
            if result.exit != 0:
                return Observation(False, result.describe())
            if lines is None:
                return Observation(True, result.describe())
            found = lines.finish()
            return Observation(found == 0, f"{found} matching lines")

        return look


class _Lines:
    """Counts the lines that match, as they come; memory is that of the longest line, at most a MiB and one read."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern, self._line, self._found = pattern, b"", 0

    def take(self, data: bytes) -> None:
        first, *others = data.split(b"\n")
        self._line += first if len(self._line) < _LONGEST else b""
        for line in others:
            self._judge()
            self._line = line

    def finish(self) -> int:
        """How many there were; what has no end is a line too."""
        self._judge()
        return self._found

    def _judge(self) -> None:
        self._found += bool(self._line and self._pattern.search(self._line.decode("utf-8", "replace")))
        self._line = b""
