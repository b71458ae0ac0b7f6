"""Events → RunState: what a run's record says of it now. Pure; nothing here is ever stored.

A step moves along these arrows and no others; an event that asks for another is a
damaged journal.

    pending      → running        intent recorded
    pending      → skipped        already done, condition false, or not selected
    pending      → failed         could not be begun: what it depends on is not there
    running      → succeeded      effect complete
    running      → failed         gave up
    running      → interrupted    stopped at a safe point, or found unfinished
    running      → waiting        needs a person or a time
    waiting      → running        asked again
    interrupted  → running        resumed
    interrupted  → succeeded      a person said it was done
    interrupted  → skipped        a person said to leave it
    failed       → running        the run was resumed
    succeeded, failed, interrupted, running, waiting → compensating   undo began
    compensating → compensated    undone
    compensating → stuck          could not be undone: a person is needed
    compensating, stuck → compensating   undo tried again
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from deployguard.errors import Damaged
from deployguard.journal import events as e
from deployguard.journal.base import Record

ALLOWED: dict[str, frozenset[str]] = {
    "pending": frozenset({"running", "skipped", "failed"}),
    "running": frozenset({"running", "succeeded", "failed", "interrupted", "waiting", "compensating"}),
    "waiting": frozenset({"running", "skipped", "failed", "compensating", "interrupted", "waiting"}),
    "interrupted": frozenset({"running", "succeeded", "skipped", "compensating", "interrupted", "waiting", "failed"}),
    "failed": frozenset({"running", "succeeded", "skipped", "compensating", "waiting", "failed"}),
    "succeeded": frozenset({"compensating", "running"}),
    "skipped": frozenset({"running", "skipped", "compensating"}),
    "compensating": frozenset({"compensating", "compensated", "stuck"}),
    "compensated": frozenset({"compensating", "compensated"}),
    "stuck": frozenset({"compensating", "compensated", "stuck"}),
}


@dataclass(frozen=True)
class StepState:
    """What the record says of one step."""

    id: str
    uses: str
    state: str = "pending"
    attempts: int = 0
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    summary: str = ""
    status: str = "pass"
    hint: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    decision: str | None = None
    undo_attempts: int = 0
    process: tuple[int, float] | None = None
    """Pid and start time of a command that had no end in the record."""
    had_effect: bool = False
    """Whether an intent was ever recorded that has not been compensated since."""
    settling: bool = False
    """Whether the undo begun last is the second one, after every step was undone."""
    settled: bool = False
    """Whether that second undo is complete."""

    @property
    def to_undo(self) -> bool:
        """Whether there may be something to undo: an effect, or an undo that was begun and not ended."""
        return self.had_effect or self.state in {"compensating", "stuck"}


@dataclass(frozen=True)
class Seen:
    """What was seen of one watched condition.

    Attributes:
        in_a_row: failed looks since the last good one.
        worst: what the last failed look saw.
        cursor: where the last look ended.
        looked: when each look was made, in seconds since the first look of the watch.
        failed: those of them that failed.
    """

    in_a_row: int = 0
    worst: str = ""
    cursor: dict[str, Any] | None = None
    looked: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Watched:
    """What a monitor has seen in all processes that carried it on.

    Attributes:
        since: when the first look was made, in seconds since 1970; 0 before it.
        elapsed: seconds from the first look to the last.
        missed: looks that nobody made.
    """

    since: float = 0.0
    elapsed: float = 0.0
    missed: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)


@dataclass(frozen=True)
class RunState:
    """What the record says of one run.

    Attributes:
        started: how it began; with the plan that a person has accepted since, where one has.
        accepted: whether a person has let it go on with anything else than it began with.
    """

    id: str
    started: e.RunStarted
    at: str
    accepted: bool = False
    state: str = "running"
    reason: str = ""
    ended: str | None = None
    fence: int = 0
    holder: e.LeaseTaken | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    checks: tuple[e.CheckFinished, ...] = ()
    decisions: tuple[e.DecisionTaken, ...] = ()
    untold: tuple[str, ...] = ()
    """Notifications that could not be sent."""
    answers: tuple[tuple[str, e.AnswerGiven], ...] = ()
    """Answers to gates, each with the time it was given."""
    rolling_back: e.RollbackStarted | None = None
    waiting_for: tuple[e.StepWaiting, ...] = ()
    watched: dict[str, "Watched"] = field(default_factory=dict)
    """What each monitor step has seen."""

    @property
    def aside(self) -> bool:
        """Whether it neither waits for other runs of its environment nor is in the way of any."""
        return bool(self.started.definition.get("aside"))

    @property
    def environment(self) -> str:
        """Name of the environment the run acts on."""
        return self.started.environment

    @property
    def in_place(self) -> tuple[str, ...]:
        """Ids of the steps that may have changed something which is not undone."""
        looks = {s["id"] for s in self.started.steps if s.get("check")}
        return tuple(s.id for s in self.steps.values() if s.to_undo and s.id not in looks)


def fold(records: Iterable[Record]) -> dict[str, RunState]:
    """All runs of a journal, in the order they began.

    Raises:
        Damaged: an event that no run could have recorded at that point.
    """
    runs: dict[str, RunState] = {}
    for record in records:
        runs[record.run] = advance(runs.get(record.run), record)
    return runs


def advance(run: RunState | None, record: Record) -> RunState:
    """The state of a run after one more of its events; None stands for a run that has none yet.

    Raises:
        Damaged: an event that this run could not have recorded at that point.
    """
    if isinstance(record.event, e.RunStarted) and run is None:
        return _begin(record, record.event)
    if run is None:
        raise Damaged(
            f"event {record.seq} belongs to run {record.run}, which never started",
            hint="Run 'deployguard runs --inspect' to read what can be read.",
        )
    return _apply(run, record)


def _begin(record: Record, event: e.RunStarted) -> RunState:
    steps = {s["id"]: StepState(id=s["id"], uses=s["uses"]) for s in event.steps}
    return RunState(id=record.run, started=event, at=record.at, steps=steps)


def _apply(run: RunState, record: Record) -> RunState:  # noqa: C901 - one arm per event, flat on purpose
    event = record.event
    match event:
        case e.LeaseTaken():
            return replace(run, fence=event.fence, holder=event)
        case e.NotificationFailed():
            return replace(run, untold=(*run.untold, event.what))
        case e.LeaseReleased():
            return replace(run, holder=None)
        case e.CheckFinished():
            # resumed before it took its lease, a run checks again: the newest verdict counts
            return replace(run, checks=(*(c for c in run.checks if c.check != event.check), event))
        case e.RunResumed():
            return replace(_agreed(run, event), state="running", reason="", ended=None, waiting_for=())
        case e.RunFinished():
            waiting = run.waiting_for if event.state == "waiting" else ()
            return replace(run, state=event.state, reason=event.reason, ended=record.at, waiting_for=waiting)
        case e.RollbackStarted():
            return replace(run, state="running", rolling_back=event, ended=None, waiting_for=())
        case e.DecisionTaken():
            run = replace(run, decisions=(*run.decisions, event))
            return _decide(run, event, record)
        case e.AnswerGiven():
            return replace(run, answers=(*run.answers, (record.at, event)))
        case e.Sampled():
            watched = _looked(run.watched.get(event.step, Watched()), record, event)
            return replace(run, watched={**run.watched, event.step: watched})
        case e.StepWaiting():
            run = replace(run, waiting_for=(*run.waiting_for, event))
    return _apply_to_step(run, record)


_AGREED = ("runbook_digest", "plan_digest", "commit", "target", "settings", "definition", "steps")


def _agreed(run: RunState, event: e.RunResumed) -> RunState:
    run, now = replace(run, accepted=run.accepted or bool(event.accepted)), event.accepted.get("beginning")
    if now is None:
        return run
    started = replace(run.started, **{name: now[name] for name in _AGREED})
    steps = {s["id"]: run.steps.get(s["id"]) or StepState(id=s["id"], uses=s["uses"]) for s in started.steps}
    return replace(run, started=started, steps=steps)


def _looked(watched: Watched, record: Record, event: e.Sampled) -> Watched:
    before = watched.seen.get(event.condition, Seen())
    # the lists are this fold's own; copying them at each of 100,000 looks would be quadratic
    before.looked.append(event.elapsed)
    if not event.ok:
        before.failed.append(event.elapsed)
    seen = Seen(
        0 if event.ok else before.in_a_row + 1, before.worst if event.ok else event.value, event.cursor,
        before.looked, before.failed,
    )  # fmt: skip
    since = watched.since or datetime.fromisoformat(record.at).timestamp() - event.elapsed
    return Watched(since, event.elapsed, watched.missed + event.missed, {**watched.seen, event.condition: seen})


def _decide(run: RunState, event: e.DecisionTaken, record: Record) -> RunState:
    step = run.steps.get(event.step)
    if step is None or event.decision in {"pause", "go on"}:
        return run
    if event.decision == "done":
        return _move(run, record, replace(step, decision="done", summary="a person said it was done"), "succeeded")
    if event.decision == "skip":
        return _move(run, record, replace(step, decision="skip", summary="a person said to leave it"), "skipped")
    return _put(run, replace(step, decision=event.decision))


def _apply_to_step(run: RunState, record: Record) -> RunState:  # noqa: C901 - one arm per event, flat on purpose
    event = record.event
    step = run.steps.get(getattr(event, "step", ""))
    if step is None:
        raise Damaged(
            f"event {record.seq} names a step that its run does not have",
            hint="Run 'deployguard runs --inspect' to read what can be read.",
        )
    match event:
        case e.StepStarted():
            # a retry keeps what the first attempt captured: later captures may see a half-made change
            before = step.before or event.before
            begun = replace(step, attempts=event.attempt, before=before, had_effect=True, process=None, decision=None)
            return _move(run, record, begun, "running")
        case e.ProcessStarted():
            return _put(run, replace(step, process=(event.pid, event.pid_started)))
        case e.StepFinished():
            ended = replace(
                step, summary=event.summary, outputs=event.outputs, evidence=event.evidence, status=event.status,
                seconds=event.seconds, process=None,
            )  # fmt: skip
            return _move(run, record, ended, "succeeded")
        case e.StepFailed():
            ended = replace(step, summary=event.error, hint=event.hint, seconds=event.seconds, process=None)
            return _move(run, record, ended, "failed" if event.final else "running")
        case e.StepSkipped():
            return _move(run, record, replace(step, summary=event.reason), "skipped")
        case e.StepInterrupted():
            return _move(run, record, replace(step, summary=event.reason, process=None), "interrupted")
        case e.StepWaiting():
            return _move(run, record, replace(step, summary=event.reason), "waiting")
        case e.CompensationStarted():
            begun = replace(step, undo_attempts=event.attempt, settling=event.settling, settled=False)
            return _move(run, record, begun, "compensating")
        case e.CompensationFinished():
            undone = replace(step, summary=event.summary, had_effect=False, process=None, settled=step.settling)
            return _move(run, record, undone, "compensated")
        case e.CompensationFailed():
            return _move(run, record, replace(step, summary=event.error, hint=event.left, process=None), "stuck")
    raise Damaged(f"event {record.seq} is of no kind that a run can have")


def _move(run: RunState, record: Record, step: StepState, to: str) -> RunState:
    if to not in ALLOWED[step.state]:
        raise Damaged(
            f"event {record.seq} moves step {step.id} from {step.state} to {to}, which cannot happen",
            hint="Run 'deployguard runs --inspect' to read what can be read.",
        )
    began = record.at if to == "running" and step.started is None else step.started
    ended = None if to in {"running", "compensating", "waiting"} else record.at
    return _put(run, replace(step, state=to, started=began, ended=ended))


def _put(run: RunState, step: StepState) -> RunState:
    # the dictionary is this fold's own; copying it for each of 10,000 steps would be quadratic
    run.steps[step.id] = step
    return run
