"""`gate.promotion`: go on when the same change has succeeded elsewhere."""

from typing import ClassVar, Literal

from pydantic import Field

from deployguard.errors import Refused, StepFailed, Waiting
from deployguard.runbook.quantities import Duration, spell
from deployguard.steps.base import Check, Context, Outcome, Preview


class GatePromotion(Check):
    """Wait until the same commit and the same runbook have succeeded, whole, in another environment.

    As `requires: promoted_from` does before a run, at any place in it. In that environment itself it is open.
    """

    uses: ClassVar[str] = "gate.promotion"
    example: ClassVar[str] = "- id: tried\n  uses: gate.promotion\n  with: { from: staging, within: 24h }"

    source: str = Field(alias="from", min_length=1)
    """The environment."""
    within: Duration = 7 * 86400.0
    """How long ago it may be."""
    otherwise: Literal["wait", "fail"] = "wait"
    """Where it has not: end with exit code 4 and ask again on resume, or fail the step."""

    def preview(self, context: Context) -> Preview:
        """Where it would have to have succeeded."""
        if context.target.environment == self.source:
            return Preview(summary=f"open: this is {self.source}")
        return Preview(summary=f"asks whether this change succeeded in {self.source} within {spell(self.within)}")

    def execute(self, context: Context) -> Outcome:
        """Ask the journal once.

        Raises:
            Waiting, StepFailed: it has not, by `otherwise`.
        """
        if context.target.environment == self.source:
            return Outcome(f"this is {self.source}")
        if context.promoted is None:
            raise Refused(
                "gate.promotion is a step of a run, not a check before it",
                hint=f"Before a run, requires: {{ promoted_from: {self.source} }} in the environment asks the same.",
            )
        said = context.promoted(self.source, self.within)
        if said.status == "pass":
            return said
        if self.otherwise == "fail":
            raise StepFailed(said.summary, hint=said.hint)
        raise Waiting(said.summary, hint=f"{said.hint} Then run 'deployguard deploy --resume'.")
