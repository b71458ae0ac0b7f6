"""`clock.skew`: this machine and the database agree on the time."""

from typing import ClassVar

from pydantic import Field

from deployguard.databases.pressure import clock_of
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.encryption import opened


class ClockSkew(Check):
    """Check that this machine's clock and the database server's differ by little.

    Tokens carry the time they were made, and so do reports, approvals and due dates: a wrong
    clock makes them lie. A database that is a file has no clock of its own.
    """

    uses: ClassVar[str] = "clock.skew"
    example: ClassVar[str] = "- uses: clock.skew\n  with: { at_most: 2s }"

    at_most: Duration = Field(2.0, gt=0)
    """The largest difference; how long the question took counts in its favour."""

    def execute(self, context: Context) -> Outcome:
        """Ask the server between two looks at our own clock."""
        clock = context.target.clock
        with opened(context, read_only=True) as database:
            before = clock.now().timestamp()
            theirs = clock_of(database)
            after = clock.now().timestamp()
        if theirs is None:
            return Outcome("the database is a file on this machine and has no clock of its own")
        skew, doubt = theirs - (before + after) / 2, (after - before) / 2
        ahead = "ahead of" if skew > 0 else "behind"
        summary = f"the database's clock is {abs(skew):.2f} s {ahead} this machine's (give or take {doubt:.2f} s)"
        evidence = {"skew": round(skew, 3), "doubt": round(doubt, 3)}
        if abs(skew) - doubt > self.at_most:
            hint = "Start time synchronisation (chrony, systemd-timesyncd) on the machine that is wrong."
            return Outcome(summary, "fail", hint, evidence)
        return Outcome(summary, evidence=evidence)
