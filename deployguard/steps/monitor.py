"""`monitor`: watch for a while, each look on record."""

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from deployguard.errors import StepFailed, Waiting
from deployguard.journal.state import Seen, Watched
from deployguard.runbook.quantities import Duration, spell
from deployguard.steps.base import JSON, Context, Outcome, Preview, Progress, Step
from deployguard.steps.conditions import Look, OneCondition

_LATE = 2.0
"""Intervals between two looks from which on the ones between count as missed."""


class Monitor(Step):
    """Watch conditions for a time; a breach fails the step, and so the run.

    Every look is on record with where it ended, so that a watch that was interrupted, or
    that looks once at each `deployguard watch --once`, is one continuous watch: the time
    between counts, log lines written meanwhile are read, and looks that nobody made are
    shown as missed.
    """

    uses: ClassVar[str] = "monitor"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
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
    budget: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of all looks of the whole watch that may fail, in a row or not: 0.01 is one in a hundred."""
    visits: bool = False
    """Keep no process: look once, end with exit code 4, and look again at each `deployguard watch --once`."""

    def preview(self, context: Context) -> Preview:  # noqa: ARG002 - it says what it will watch
        """How long, and what."""
        names = ", ".join(c.condition().name() for c in self.conditions)
        return Preview(summary=f"watch for {spell(self.duration)}: {names}", seconds=self.duration)

    def execute(self, context: Context) -> Outcome:
        """Look at every condition, again and again, until the time is over or one is breached.

        Raises:
            StepFailed: a condition is breached.
            Waiting: it looks once at a time, and the time is not over.
        """
        watch = _Watch(self, context)
        while watch.look_at_all() < self.duration:
            if self.visits or context.once:
                raise self._later(context, watch)
            watch.wait()
        return watch.outcome()

    def _later(self, context: Context, watch: "_Watch") -> Waiting:
        until = context.target.clock.now().astimezone(UTC) + timedelta(seconds=self.every)
        return Waiting(
            f"watched {spell(watch.elapsed())} of {spell(self.duration)}",
            hint="Let a timer run 'deployguard watch --once'.",
            until=until.isoformat(timespec="seconds").replace("+00:00", "Z"),
        )


@dataclass
class _Count:
    """One condition, and what was seen of it in all processes."""

    given: OneCondition
    look: Look
    samples: int = 0
    failures: int = 0
    in_a_row: int = 0
    worst: str = ""


class _Watch:
    """The watch as this process goes on with it."""

    def __init__(self, monitor: Monitor, context: Context) -> None:
        self._monitor, self._context, self._clock = monitor, context, context.target.clock
        before = context.watched or Watched()
        now = self._clock.now().timestamp()
        # across processes only the wall clock goes on; within one, the monotonic
        self._offset = max(0.0, now - before.since) if before.since else 0.0
        self._begun = self._clock.monotonic()
        self._last = before.elapsed if before.since else None
        self.missed = before.missed
        self._counts = {c.condition().name(): self._count(c, before.seen) for c in monitor.conditions}

    def _count(self, given: OneCondition, seen: dict[str, Seen]) -> _Count:
        condition = given.condition()
        known = seen.get(condition.name(), Seen())
        look = condition.begin(self._context, known.cursor)
        return _Count(given, look, known.samples, known.failures, known.in_a_row, known.worst)

    def elapsed(self) -> float:
        """Seconds since the first look on record."""
        return self._offset + self._clock.monotonic() - self._begun

    def look_at_all(self) -> float:
        """One look at each condition; seconds since the first look of all.

        Raises:
            StepFailed: one is breached.
        """
        elapsed = self.elapsed()
        missed = self._missed_until(elapsed)
        self.missed += missed
        for name, count in self._counts.items():
            self._look(name, count, elapsed, missed)
            missed = 0
        self._last = elapsed
        return elapsed

    def _missed_until(self, elapsed: float) -> int:
        gap = elapsed - self._last if self._last is not None else 0.0
        return int(gap / self._monitor.every) - 1 if gap >= _LATE * max(self._monitor.every, 1.0) else 0

    def _look(self, name: str, count: _Count, elapsed: float, missed: int) -> None:
        seen = count.look()
        self._context.sample(name, seen.ok, seen.value, round(elapsed, 3), cursor=seen.cursor, missed=missed)
        count.samples += 1
        count.in_a_row = 0 if seen.ok else count.in_a_row + 1
        if not seen.ok:
            count.failures, count.worst = count.failures + 1, seen.value
        if count.given.severity == "fail" and (rule := self._broken(count)):
            raise StepFailed(f"{name}: {seen.value} ({rule}, after {spell(elapsed)})", hint="Look at what it names.")

    def _broken(self, count: _Count) -> str:
        if count.in_a_row >= self._monitor.failures:
            return f"{count.in_a_row} in a row"
        looks = self._monitor.duration / max(self._monitor.every, 0.001) + 1
        if self._monitor.budget is not None and count.failures > self._monitor.budget * looks:
            return f"{count.failures} failed looks are more than the budget of {self._monitor.budget:.1%}"
        return ""

    def wait(self) -> None:
        """Until the next look, or the end."""
        until = min((self._last or 0.0) + self._monitor.every, self._monitor.duration)
        while (left := until - self.elapsed()) > 0:
            done = Progress("watching", round(self.elapsed()), round(self._monitor.duration), unit="s")
            self._context.pulse(done)
            self._clock.sleep(min(0.5, left))

    def outcome(self) -> Outcome:
        """What the whole watch has seen."""
        bad = [name for name, count in self._counts.items() if count.failures]
        held = f"{len(self._counts)} condition{'s' * (len(self._counts) != 1)} held for {spell(self._monitor.duration)}"
        gaps = f"; {self.missed} looks missed while nobody watched" if self.missed else ""
        return Outcome(
            (f"warnings: {', '.join(bad)}" if bad else held) + gaps,
            status="warn" if bad or self.missed else "pass",
            evidence={
                "seconds": self._monitor.duration,
                "missed": self.missed,
                "conditions": [self._told(name, count) for name, count in self._counts.items()],
            },
        )

    @staticmethod
    def _told(name: str, count: _Count) -> JSON:
        return {
            "name": name, "ok": not count.failures, "samples": count.samples,
            "failures": count.failures, "worst": count.worst,
        }  # fmt: skip
