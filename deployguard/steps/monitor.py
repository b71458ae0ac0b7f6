"""`monitor`: watch for a while, each look on record."""

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from deployguard.errors import Breached, Waiting
from deployguard.journal.state import Seen, Watched
from deployguard.runbook.quantities import Duration, Share, spell
from deployguard.steps.base import JSON, Context, Outcome, Preview, Progress, Step
from deployguard.steps.conditions import Look, OneCondition
from deployguard.steps.conditions.naming import names_of, on_record
from deployguard.steps.conditions.rules import Burn, Looks

_LATE = 2.0
"""Intervals between two looks from which on the ones between count as missed."""


class Monitor(Step):
    """Watch conditions for a time; a breach fails the step, and so the run.

    Every look is on record with where it ended, so that a watch that was interrupted, or
    that looks once at each `deployguard watch --once`, is one continuous watch: the time
    between counts, log lines written meanwhile are read, and looks that nobody made are
    shown as missed.

    A failed look is a breach when as many `failures` came in a row, when more of all looks failed
    than the `budget` has, or when the budget burns faster than a rule of `burn` lets it. Where
    several conditions look at the same thing, each has a name of its own, with a number or by `name:`.
    """

    uses: ClassVar[str] = "monitor"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    pages: ClassVar[tuple[str, ...]] = ("url", "prometheus")
    example: ClassVar[str] = (
        "- id: monitor\n  uses: monitor\n  with:\n    for: 24h\n    every: 30s\n    conditions:\n"
        "      - log: { file: app.log, absent: InvalidToken }"
    )

    duration: Duration = Field(alias="for")
    """How long to watch."""
    every: Duration = 30.0
    """Time between two looks."""
    conditions: Annotated[list[OneCondition], Field(min_length=1)]
    failures: Annotated[int, Field(ge=1)] | None = None
    """Failed looks in a row that make a breach: 1, or any number where a budget is given."""
    budget: Share | None = None
    """Share of all looks of the whole watch that may fail, in a row or not: `1%` is one in a hundred."""
    burn: tuple[Burn, ...] = ()
    """Rules for how fast the budget may burn: `[{ window: 1h, rate: 14.4 }, { window: 6h, rate: 6 }]`."""
    visits: bool = False
    """Keep no process: look once, end with exit code 4, and look again at each `deployguard watch --once`."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        named = Counter(c.name for c in self.conditions if c.name)
        if twice := [name for name, often in named.items() if often > 1]:
            raise ValueError(f"several conditions are named {twice[0]}: give each a name of its own")
        if self.burn and not self.budget:
            raise ValueError("burn: needs a budget: that can burn, such as 1%")
        return self

    def preview(self, context: Context) -> Preview:
        """How long, and what."""
        names = ", ".join(names_of(self.conditions, context.target.masker))
        return Preview(summary=f"watch for {spell(self.duration)}: {names}", seconds=self.duration)

    def execute(self, context: Context) -> Outcome:
        """Look at every condition, again and again, until the time is over or one is breached.

        Raises:
            Breached: a condition is.
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
    looks: Looks
    in_a_row: int
    worst: str
    unread: int = 0


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
        names = names_of(monitor.conditions, context.target.masker)
        known = on_record(monitor.conditions, names, before.seen)
        each = zip(names, monitor.conditions, known, strict=True)
        self._counts = {name: self._count(given, seen) for name, given, seen in each}

    def _count(self, given: OneCondition, known: Seen) -> _Count:
        look = given.condition().begin(self._context, known.cursor)
        return _Count(given, look, Looks(known.looked, known.failed), known.in_a_row, known.worst)

    def elapsed(self) -> float:
        """Seconds since the first look on record."""
        return self._offset + self._clock.monotonic() - self._begun

    def look_at_all(self) -> float:
        """One look at each condition; seconds since the first look of all.

        Raises:
            Breached: one is.
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
        count.looks.add(elapsed, ok=seen.ok)
        count.unread = seen.unread
        count.in_a_row = 0 if seen.ok else count.in_a_row + 1
        count.worst = count.worst if seen.ok else seen.value
        if count.given.severity == "fail" and (rule := self._broken(count)):
            raise Breached(f"{name}: {seen.value} ({rule}, after {spell(elapsed)})", hint="Look at what it names.")

    def _broken(self, count: _Count) -> str:
        budget, every = self._monitor.budget, max(self._monitor.every, 0.001)
        if count.in_a_row >= (self._monitor.failures or (1 if budget is None else math.inf)):
            return f"{count.in_a_row} in a row"
        if budget is None:
            return ""
        failures, looks = len(count.looks.failed), self._monitor.duration / every + 1
        if failures > budget * looks:
            return f"{failures} failed looks are more than the budget of {budget:.4g} of {looks:.0f}"
        return next((rule for burn in self._monitor.burn if (rule := burn.breached(count.looks, budget, every))), "")

    def wait(self) -> None:
        """Until the next look, or the end."""
        until = min((self._last or 0.0) + self._monitor.every, self._monitor.duration)
        while (left := until - self.elapsed()) > 0:
            done = Progress("watching", round(self.elapsed()), round(self._monitor.duration), unit="s")
            self._context.pulse(done)
            self._clock.sleep(min(0.5, left))

    def outcome(self) -> Outcome:
        """What the whole watch has seen."""
        bad = [name for name, count in self._counts.items() if count.looks.failed]
        held = f"{len(self._counts)} condition{'s' * (len(self._counts) != 1)} held for {spell(self._monitor.duration)}"
        gaps = f"; {self.missed} looks missed while nobody watched" if self.missed else ""
        late = [name for name, count in self._counts.items() if self._is_late(count)]
        gaps += f"; not watched from the beginning: {', '.join(late)}" if late else ""
        unread = [name for name, count in self._counts.items() if count.unread]
        gaps += f"; gone in part before it could be read: {', '.join(unread)}" if unread else ""
        return Outcome(
            (f"warnings: {', '.join(bad)}" if bad else held) + gaps,
            status="warn" if bad or gaps else "pass",
            evidence={
                "seconds": self._monitor.duration,
                "missed": self.missed,
                "conditions": [self._told(name, count) for name, count in self._counts.items()],
            },
        )

    def _is_late(self, count: _Count) -> bool:
        """Whether the first look at it was made long after the first of all: the runbook has changed since."""
        return count.looks.looked[0] > _LATE * max(self._monitor.every, 1.0)

    @staticmethod
    def _told(name: str, count: _Count) -> JSON:
        failures = len(count.looks.failed)
        return {
            "name": name, "ok": not failures, "samples": len(count.looks.looked),
            "failures": failures, "worst": count.worst, "unread": count.unread,
        }  # fmt: skip
