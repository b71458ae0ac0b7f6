"""`sql`: a number in the database is as expected."""

from typing import ClassVar

from deployguard.steps.conditions import Sql as Condition
from deployguard.steps.gate import ConditionCheck


class Sql(ConditionCheck, Condition):
    """Check once that a number in the database is as expected."""

    uses: ClassVar[str] = "sql"
    example: ClassVar[str] = '- uses: sql\n  with: { query: "select count(*) from web_profile", expect: "> 0" }'
