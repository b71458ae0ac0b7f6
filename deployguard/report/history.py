"""Records of one run → what was tried, in order, and where it lies on the clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from shlex import quote
from typing import Any

from deployguard.journal import events as e
from deployguard.journal.base import Record
from deployguard.journal.state import RunState, StepState, advance
from deployguard.report.model import Attempt, Bar, Rows, StepPart
from deployguard.report.prose import between, moment
from deployguard.runbook.matrix import split_id

BARS = 60
"""More bars than this are no picture any more: the longest are shown."""
_ENTRIES = 12
IN_DATABASE = frozenset({"django.migrate", "encryption.encrypt", "encryption.decrypt", "encryption.rotate"})
"""Kinds whose whole effect stands in the database that a backup brings back."""


@dataclass(frozen=True)
class History:
    """One run, folded twice: its state, and the attempts that led there."""

    state: RunState
    records: tuple[Record, ...]
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    @property
    def begin(self) -> str:
        """When it began."""
        return self.state.at

    @property
    def end(self) -> str:
        """When it ended, or the last that is on record of it."""
        return self.state.ended or self.records[-1].at

    @property
    def undo_command(self) -> str:
        """What takes the run back, or goes on doing so: by the same way and as far as was begun."""
        begun = self.state.rolling_back
        to = f" --to {quote(begun.to)}" if begun and begun.to else ""
        via = f" --via {quote(begun.via)}" if begun and begun.via != "decrypt" else ""
        return f"deployguard rollback {self.state.id}{to}{via}"

    def undone_by_restore(self, step: StepState) -> bool:
        """Whether a backup that was put back took the step's effect with it."""
        begun, where = self.state.rolling_back, self.where(step.id)
        backups = (
            s.state for s in self.state.steps.values() if s.uses == "backup.create" and self.where(s.id) == where
        )
        return begun is not None and begun.via == "restore" and step.uses in IN_DATABASE and "compensated" in backups

    def of(self, *kinds: type[e.Event]) -> Iterator[Record]:
        """Its records of some kinds."""
        return (r for r in self.records if isinstance(r.event, kinds))

    def evidence(self, *uses: str, after: int = 0, before: float = inf) -> Iterator[dict[str, Any]]:
        """Evidence of finished steps and checks of these kinds, in order, from between two numbers of the journal.

        Of a step with a database of its own it also says which, under "where".
        """
        for record in self.of(e.StepFinished, e.CheckFinished):
            if not after < record.seq < before:
                continue
            match record.event:
                case e.CheckFinished(uses=kind, evidence=found) if kind in uses:
                    yield found
                case e.StepFinished(step=step, evidence=found) if self.state.steps[step].uses in uses:
                    where = self.where(step)
                    yield {**found, "where": where} if where else found

    def backups(self) -> list[dict[str, Any]]:
        """Evidence of the newest backup of each database."""
        return list({found.get("where"): found for found in self.evidence("backup.create")}.values())

    def where(self, step: str) -> str:
        """What a step's own database is called: by its item, else by its name; "" where it has the environment's."""
        planned = next(s for s in self.state.started.steps if s["id"] == step)
        if "target" not in planned:
            return ""
        return split_id(step)[1] or str((planned["target"] or {}).get("database", step))

    def worked(self, *uses: str) -> tuple[float, int]:
        """Numbers of the first and the last event of steps of these kinds; (inf, 0) where there was none."""
        found = [r.seq for r in self.records if self._uses(r) in uses]
        return (found[0], found[-1]) if found else (inf, 0)

    def _uses(self, record: Record) -> str:
        step = self.state.steps.get(getattr(record.event, "step", ""))
        return step.uses if step else ""


def read(records: Sequence[Record]) -> History:
    """What one run's records say.

    Raises:
        Damaged: an event that no run could have recorded at that point.
    """
    state: RunState | None = None
    attempts: dict[str, list[Attempt]] = {}
    for record in records:
        state = advance(state, record)
        step = getattr(record.event, "step", None)
        if step is not None:
            _try(attempts.setdefault(step, []), record)
    assert state is not None, "a run has at least its beginning on record"  # noqa: S101
    return History(state, tuple(records), attempts)


def _try(tried: list[Attempt], record: Record) -> None:
    match record.event:
        case e.StepStarted() as event:
            tried.append(Attempt("step", event.attempt, record.at, "running", 0.0, tuple(event.commands)))
        case e.CompensationStarted() as event:
            tried.append(Attempt("undo", event.attempt, record.at, "running", 0.0, tuple(event.commands)))
        case e.StepFinished() as event:
            state = "succeeded" if event.status == "pass" else event.status
            _end(
                tried, record, state, event.seconds, summary=event.summary,
                command_exit=event.command_exit, tail=event.tail, log=event.log, evidence=flat(event.evidence),
            )  # fmt: skip
        case e.StepFailed() as event:
            _end(
                tried, record, "failed", event.seconds, summary=event.error, hint=event.hint,
                command_exit=event.command_exit, tail=event.tail, log=event.log,
            )  # fmt: skip
        case e.StepInterrupted() as event:
            _end(tried, record, "interrupted", 0.0, summary=event.reason)
        case e.StepWaiting() as event:
            _end(tried, record, "waiting", 0.0, summary=event.reason)
        case e.CompensationFinished() as event:
            _end(
                tried, record, "undone", event.seconds, summary=event.summary,
                tail=event.tail, log=event.log, evidence=flat(event.evidence),
            )  # fmt: skip
        case e.CompensationFailed() as event:
            _end(
                tried,
                record,
                "not undone",
                event.seconds,
                summary=event.error,
                hint=event.left,
                tail=event.tail,
                log=event.log,
            )


def _end(tried: list[Attempt], record: Record, state: str, seconds: float, **facts: Any) -> None:  # noqa: ANN401
    if not tried or tried[-1].state not in {"running", "interrupted"}:
        tried.append(Attempt("step", 0, record.at, "running", 0.0))
    last = tried[-1]
    tried[-1] = replace(last, state=state, seconds=seconds or between(last.begin, record.at), **facts)


def flat(evidence: dict[str, Any]) -> Rows:
    """Evidence as lines. Columns have a table of their own; long lists are cut, and say so."""
    facts = {
        key: versions(value) if isinstance(value, dict) and key == "changed" else value
        for key, value in evidence.items()
        if key != "columns"
    }
    lines = ((key.replace("_", " "), _short(value)) for key, value in sorted(facts.items()))
    return tuple((key, value) for key, value in lines if value)


def versions(changed: object) -> list[str]:
    """Packages that were changed: as they are listed, or from name → [former, new version]."""
    if isinstance(changed, dict):
        return [_version(str(name), pair) for name, pair in sorted(changed.items())]
    return [str(name) for name in changed] if isinstance(changed, list) else []


def _version(name: str, change: object) -> str:
    match change:
        case [None, new]:
            return f"{name} {_short(new)}"
        case [_, None]:
            return f"{name} removed"
        case [old, new]:
            return f"{name} {_short(old)} → {_short(new)}"
    return f"{name} {_short(change)}"


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, dict):
        return _listed([f"{k} {_short(v)}" for k, v in sorted(value.items()) if v != ""], ", ")
    if isinstance(value, list):
        return _listed([_short(v) for v in value], "; ")
    return "none" if value is None else str(value)


def _listed(parts: list[str], separator: str) -> str:
    more = len(parts) - _ENTRIES
    return separator.join(parts[:_ENTRIES]) + (f"{separator}and {more:,} more" if more > 0 else "")


def parts(history: History) -> tuple[StepPart, ...]:
    """Every step of the plan, in its order."""
    about = {s["id"]: str(s.get("summary") or "") for s in history.state.started.steps}
    return tuple(
        StepPart(
            number, step.id, step.uses, about[step.id], step.state, step.status, step.summary,
            sum(a.seconds for a in history.attempts.get(step.id, ())), tuple(history.attempts.get(step.id, ())),
        )
        for number, step in enumerate(history.state.steps.values(), 1)
    )  # fmt: skip


def timeline(history: History, steps: Sequence[StepPart]) -> tuple[tuple[Bar, ...], int]:
    """The longest stretches in order of time, and how many others there were."""
    bars = list(_bars(history, steps))
    longest = sorted(bars, key=lambda b: -b.seconds)[:BARS]
    shown = sorted(longest, key=lambda b: (_ROWS.index(b.row), moment(b.begin), b.number))
    return tuple(_placed(bar, history) for bar in shown), len(bars) - len(shown)


_ROWS = ["Checks", "Steps", "Rollback"]


def _bars(history: History, steps: Sequence[StepPart]) -> Iterator[Bar]:
    previous = history.begin
    for record in history.of(e.CheckFinished):
        if isinstance(check := record.event, e.CheckFinished):
            yield Bar("Checks", 0, check.check, check.status, previous, check.seconds)
        previous = record.at
    for step in steps:
        for tried in step.attempts:
            row = "Steps" if tried.kind == "step" else "Rollback"
            seconds = tried.seconds if tried.state != "running" else between(tried.begin, history.end)
            yield Bar(row, step.number, step.id, tried.state, tried.begin, seconds)


def _placed(bar: Bar, history: History) -> Bar:
    whole = between(history.begin, history.end) or 1.0
    left = min(100.0, between(history.begin, bar.begin) / whole * 100)
    width = min(100.0 - left, bar.seconds / whole * 100)
    return replace(bar, left=round(left, 2), width=round(width, 2))
