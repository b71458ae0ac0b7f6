"""`gate.approval`: people say yes, to exactly this."""

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from deployguard.errors import StepFailed, Waiting
from deployguard.runbook.quantities import Duration, spell
from deployguard.steps.base import Answer, Check, Context, Outcome, Preview


class GateApproval(Check):
    """Wait until enough people have approved the run.

    An approval holds for one plan, one commit and one database: when any of them changes,
    it counts no more. While it waits no process runs; `deployguard deploy --resume` goes on.
    """

    uses: ClassVar[str] = "gate.approval"
    example: ClassVar[str] = "- id: go\n  uses: gate.approval\n  with: { by: [ada, grace], count: 1, expires: 8h }"

    by: tuple[str, ...] = ()
    """Who may approve, by the name they log in with; anybody where nobody is named."""
    count: Annotated[int, Field(ge=1, le=20)] = 1
    """How many different people must."""
    expires: Duration = 86400.0
    """How long an approval counts."""
    not_starter: bool = True
    """Whether the person who began the run may not approve it."""

    def preview(self, context: Context) -> Preview:  # noqa: ARG002 - what it waits for is people
        """Whom it would wait for."""
        return Preview(summary=f"waits for {self._wanted()}")

    def execute(self, context: Context) -> Outcome:
        """Count the answers that hold.

        Raises:
            StepFailed: somebody who may answer said no.
            Waiting: there are not enough yet.
        """
        held = {a.who: a for a in context.answers if self._holds(a, context)}
        for answer in held.values():
            if answer.verdict == "reject":
                raise StepFailed(f"rejected by {answer.who}: {answer.why or 'no reason given'}", hint="Ask them.")
        if len(held) < self.count:
            raise Waiting(
                f"{len(held)} of {self.count} approvals; waits for {self._wanted()}",
                hint=f"They run 'deployguard approve {context.run} {context.step}', "
                "then anybody runs 'deployguard deploy --resume'.",
            )
        people = [{"who": a.who, "at": a.at.isoformat(timespec="seconds"), "why": a.why} for a in held.values()]
        return Outcome(f"approved by {', '.join(sorted(held))}", evidence={"approvals": people})

    def _holds(self, answer: Answer, context: Context) -> bool:
        fresh = context.target.clock.now() - answer.at <= timedelta(seconds=self.expires)
        entitled = answer.who in self.by if self.by else True
        return answer.current and fresh and entitled and not (self.not_starter and answer.who == context.starter)

    def _wanted(self) -> str:
        people = f"{self.count} of {', '.join(self.by)}" if self.by else f"{self.count} other people"
        return f"{people} (each counts for {spell(self.expires)})"
