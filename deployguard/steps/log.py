"""`log`: a log file holds, or does not hold, a pattern."""

from typing import ClassVar

from deployguard.steps.conditions import Log as Condition
from deployguard.steps.gate import ConditionCheck


class Log(ConditionCheck, Condition):
    """Check once that a log file holds, or does not hold, a pattern."""

    whole: bool = True
    """Look at the whole file: a single look finds nothing added."""

    uses: ClassVar[str] = "log"
    example: ClassVar[str] = "- uses: log\n  with: { file: app.log, absent: InvalidToken }"
