"""`log`: a log file holds, or does not hold, a pattern."""

from typing import ClassVar

from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.conditions import Log as Condition


class Log(Check, Condition):
    """Check once that a log file holds, or does not hold, a pattern."""

    uses: ClassVar[str] = "log"
    example: ClassVar[str] = "- uses: log\n  with: { file: app.log, absent: InvalidToken, whole: true }"

    def execute(self, context: Context) -> Outcome:
        """Look once."""
        seen = self.begin(context)()
        return Outcome(
            f"{self.name()}: {seen.value}", status="pass" if seen.ok else "fail", evidence={"value": seen.value}
        )
