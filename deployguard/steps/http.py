"""`http`: a page answers as it should."""

from typing import ClassVar

from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.conditions import Http as Condition


class Http(Check, Condition):
    """Check once that a page answers as it should."""

    uses: ClassVar[str] = "http"
    example: ClassVar[str] = '- uses: http\n  with: { url: "https://example.org/health", status: 200 }'

    def execute(self, context: Context) -> Outcome:
        """Look once."""
        seen = self.begin(context)()
        return Outcome(
            f"{self.name()}: {seen.value}", status="pass" if seen.ok else "fail", evidence={"value": seen.value}
        )
