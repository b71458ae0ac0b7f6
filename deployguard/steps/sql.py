"""`sql`: a number in the database is as expected."""

from typing import ClassVar

from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.conditions import Sql as Condition


class Sql(Check, Condition):
    """Check once that a number in the database is as expected."""

    uses: ClassVar[str] = "sql"
    example: ClassVar[str] = '- uses: sql\n  with: { query: "select count(*) from web_profile", expect: "> 0" }'

    def execute(self, context: Context) -> Outcome:
        """Look once."""
        seen = self.begin(context)()
        return Outcome(
            f"{self.name()}: {seen.value}", status="pass" if seen.ok else "fail", evidence={"value": seen.value}
        )
