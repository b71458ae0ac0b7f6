"""`monitor`: watch for a while, each look on record."""

from typing import Annotated, ClassVar

from pydantic import Field

from deployguard.errors import StepFailed
from deployguard.runbook.quantities import Duration, spell
from deployguard.steps.base import Context, Outcome, Preview, Progress, Step
from deployguard.steps.conditions import OneCondition


class Monitor(Step):
    """Watch conditions for a time; a breach fails the step, and so the run.

    The time that is on record counts: a watch that was interrupted watches only the rest.
    """

    uses: ClassVar[str] = "monitor"
    idempotent: ClassVar[bool] = True
    example: ClassVar[str] = (
        "- id: monitor\n  uses: monitor\n  with:\n    for: 24h\n    every: 30s\n    conditions:\n"
        "      - log: { file: app.log, absent: InvalidToken }"
    )

    duration: Duration = Field(alias="for")
    """How long to watch."""
    every: Duration = 30.0
    """Time between two looks."""
    conditions: Annotated[list[OneCondition], Field(min_length=1)]
    failures: Annotated[int, Field(ge=1)] = 1
    """Failed looks in a row that make a breach."""

    def preview(self, context: Context) -> Preview:
        """How long, and what."""
        names = ", ".join(c.condition().name() for c in self.conditions)
        return Preview(summary=f"watch for {spell(self.duration - context.watched)}: {names}", seconds=self.duration)

    def execute(self, context: Context) -> Outcome:
        """Look at every condition, again and again, until the time is over or one is breached."""
        clock = context.target.clock
        looks = {c.condition().name(): (c, c.condition().begin(context)) for c in self.conditions}
        counts = {name: {"name": name, "ok": True, "samples": 0, "failures": 0, "worst": ""} for name in looks}
        in_a_row = dict.fromkeys(looks, 0)
        begun = clock.monotonic() - context.watched
        while True:
            elapsed = clock.monotonic() - begun
            for name, (condition, look) in looks.items():
                seen = look()
                context.sample(name, seen.ok, seen.value, round(elapsed, 3))
                counts[name]["samples"] += 1  # type: ignore[operator]
                in_a_row[name] = 0 if seen.ok else in_a_row[name] + 1
                if not seen.ok:
                    counts[name] |= {"failures": counts[name]["failures"] + 1, "worst": seen.value}  # type: ignore[operator]
                if in_a_row[name] >= self.failures and condition.severity == "fail":
                    raise StepFailed(
                        f"{name}: {seen.value}, after {spell(elapsed)}", hint="Look at the application's log."
                    )
            if elapsed >= self.duration:
                break
            self._wait(context, begun, min(elapsed + self.every, self.duration))
        bad = [n for n, c in counts.items() if c["failures"]]
        return Outcome(
            f"{len(looks)} conditions held for {spell(self.duration)}" if not bad else f"warnings: {', '.join(bad)}",
            status="warn" if bad else "pass",
            evidence={"seconds": self.duration, "conditions": list(counts.values())},
        )

    def _wait(self, context: Context, begun: float, until: float) -> None:
        clock = context.target.clock
        while (left := until - (clock.monotonic() - begun)) > 0:
            done = clock.monotonic() - begun
            context.pulse(Progress("watching", round(done), round(self.duration), unit="s"))
            clock.sleep(min(0.5, left))
