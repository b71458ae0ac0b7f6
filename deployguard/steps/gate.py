"""What gates and checks on a condition share: look, and hold, wait, or fail."""

from typing import Literal

from deployguard.errors import StepFailed, Waiting
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Check, Context, Outcome, Preview, Progress
from deployguard.steps.conditions import Condition, Observation

_PAUSE = 1.0


class ConditionCheck(Check, Condition):
    """A condition that is looked at once."""

    def execute(self, context: Context) -> Outcome:
        """Look once."""
        seen = self.begin(context)()
        return Outcome(
            f"{self.name()}: {seen.value}", status="pass" if seen.ok else "fail", evidence={"value": seen.value}
        )


class ConditionGate(Check, Condition):
    """A condition that must hold before the run goes on."""

    within: Duration = 0.0
    """How long to look again and again in this process."""
    otherwise: Literal["wait", "fail"] = "wait"
    """Where it does not hold by then: end with exit code 4 and look again on resume, or fail the step."""

    def preview(self, context: Context) -> Preview:
        """One look."""
        seen = self.look(context)
        return Preview(summary=f"{'open' if seen.ok else 'closed'} now: {seen.value}")

    def look(self, context: Context) -> Observation:
        """See once whether the condition holds."""
        return self.begin(context)()

    def execute(self, context: Context) -> Outcome:
        """Look until it holds or the time is over.

        Raises:
            Waiting, StepFailed: it does not hold, by `otherwise`.
        """
        clock = context.target.clock
        begun = clock.monotonic()
        while not (seen := self.look(context)).ok:
            elapsed = clock.monotonic() - begun
            if elapsed >= self.within:
                said = f"{self.uses}: {seen.value}"
                if self.otherwise == "fail":
                    raise StepFailed(said, hint="The gate is closed; what it asks for must be so first.")
                raise Waiting(said, hint="Run 'deployguard deploy --resume' when it is so.")
            context.pulse(Progress("gate is closed", round(elapsed), round(self.within), unit="s", note=seen.value))
            clock.sleep(_PAUSE)
        return Outcome(seen.value, evidence={"value": seen.value})
