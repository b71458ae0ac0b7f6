"""`gate.sql`: go on when a number in the database is as expected."""

from typing import ClassVar

from deployguard.steps.conditions import Sql
from deployguard.steps.gate import ConditionGate


class GateSql(ConditionGate, Sql):
    """Wait until a number in the database is as expected: no job under way, no open order."""

    uses: ClassVar[str] = "gate.sql"
    example: ClassVar[str] = (
        '- id: quiet\n  uses: gate.sql\n  with: { query: "select count(*) from jobs", expect: 0, within: 10m }'
    )
