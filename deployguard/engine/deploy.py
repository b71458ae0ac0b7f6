"""Starting, resuming and rolling back a run: who holds the environment, and how the run ended."""

import os
import pwd
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from deployguard.engine.execute import Run, execute_steps
from deployguard.engine.identity import identity, moved, other_commit, own_identities, seen_by
from deployguard.engine.observe import Nobody, Observer
from deployguard.engine.plan import Plan
from deployguard.engine.preflight import run_checks
from deployguard.engine.rollback import made_ready, roll_back, steps_to_undo
from deployguard.engine.stop import Stop
from deployguard.errors import (
    DeployguardError,
    Interrupted,
    LeaseLost,
    NeedsPerson,
    NotRecorded,
    Refused,
    StepFailed,
    UsageError,
    Waiting,
)
from deployguard.journal import events as e
from deployguard.journal.base import Journal, Record
from deployguard.journal.lock import EnvironmentLock, about_me
from deployguard.journal.state import RunState, fold
from deployguard.process import end_leftover, end_orphans
from deployguard.steps.base import Target

EXIT = {
    "succeeded": 0,
    "rolled_back": 1,
    "refused": 3,
    "waiting": 4,
    "failed": 5,
    "rollback_incomplete": 5,
    "interrupted": 7,
}
"""Exit code of a deploy by the state the run ended in."""

GATES = "gate."
"""How the names of the kinds begin that a run waits at."""
UNFINISHED = frozenset({"running", "waiting", "interrupted", "failed", "rollback_incomplete"})


def who() -> str:
    """The person at the keyboard, as the kernel knows them; behind sudo, as sudo says."""
    uid = os.getuid()
    if uid == 0 and (person := os.environ.get("SUDO_USER")):
        return person
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@dataclass
class Session:
    """What a person brings to a run: the plan, the place, the record and their patience."""

    plan: Plan
    target: Target
    journal: Journal
    observer: Observer = field(default_factory=Nobody)
    stop: Stop = field(default_factory=Stop)
    actor: str = field(default_factory=who)
    decisions: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    once: bool = False
    """Whether a monitor looks once and then waits for the next visit."""
    ask: Any = None
    """Called with a question when on_failure is `ask`; answers rollback or stop. None: nobody is there."""
    agree: Callable[[Any], None] = lambda _: None
    """Shown what a restore would put in place, before anything is undone; raises to keep it from beginning."""
    ready: Mapping[str, Any] = field(default_factory=dict)
    """What was made ready for steps before the run began, by their ids."""
    failure: DeployguardError | None = None
    """What kept the run from succeeding, as it was raised; set when it has ended."""


def latest(journal: Journal, environment: str) -> RunState | None:
    """The newest run of an environment that did anything."""
    runs = fold(journal.records()).values()
    found = [r for r in runs if r.environment == environment and r.state != "refused" and not r.aside]
    return found[-1] if found else None


def unfinished(journal: Journal, environment: str) -> RunState | None:
    """The newest run of an environment that must be gone on with or undone before another begins."""
    runs = fold(journal.records()).values()
    mine = (r for r in reversed(runs) if r.environment == environment and not r.aside)
    return next((r for r in mine if r.state in UNFINISHED), None)


def new_run_id(target: Target) -> str:
    """An id that sorts by time and says where."""
    return f"{target.environment}-{target.clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def deploy(session: Session) -> RunState:
    """Begin a run and carry it as far as it goes.

    Raises:
        EnvironmentHeld: another process runs there now.
        Refused: an unfinished run must be resumed or rolled back first.
        UsageError: a gate is left out, and nobody says why.
    """
    gates = [s.id for s in session.plan.steps if not s.selected and s.uses.startswith(GATES)]
    if gates and not session.plan.selection.why:
        raise UsageError(
            f"this leaves out {', '.join(gates)}: to pass over a gate needs a reason",
            hint="Add --why; it stands at the top of the report.",
        )
    run_id = new_run_id(session.target)
    with _held(session, run_id) as lock:
        before = unfinished(session.journal, session.target.environment)
        if before is not None and not session.plan.runbook.aside:
            raise Refused(
                f"run {before.id} in {before.environment} is unfinished ({before.state})",
                hint="Run 'deployguard deploy --resume' to go on with it, 'deployguard rollback' to undo it, "
                f"or 'deployguard abort {before.id}' to leave it as it is.",
            )
        session.journal.append(run_id, beginning(session))
        run = Run(run_id, session.plan, session.target, session.journal, lock, 0, session.observer, session.stop)
        run.ready |= session.ready
        session.observer.recorded(next(iter(session.journal.records(run_id))))
        return _from_the_checks(run, session)


def resume(session: Session, before: RunState) -> RunState:
    """Go on with an unfinished run.

    Raises:
        EnvironmentHeld: another process runs there now.
        UsageError: a decision about a step that does not need one.
    """
    with _held(session, before.id) as lock:
        run = Run(
            before.id,
            session.plan,
            session.target,
            session.journal,
            lock,
            0,
            session.observer,
            session.stop,
            once=session.once,
        )
        _check_decisions(run, session)
        resumed = e.RunResumed(actor=session.actor, host=os.uname().nodename, accepted=_accepted(session, before))
        if before.fence == 0 and before.rolling_back is None:
            run.record(resumed)
            return _from_the_checks(run, session)
        _take_lease(run)
        run.record(resumed)
        _clean_up(run)
        for step, decision in session.decisions.items():
            run.record(e.DecisionTaken(step=step, decision=decision, who=session.actor, why=session.why))
        if before.rolling_back is not None:
            rolling = before.rolling_back
            return _roll_back(run, session, rolling.reason, to=rolling.to, via=rolling.via)
        return _carry_on(run, session)


def undo(session: Session, before: RunState, *, to: str | None, via: str) -> RunState:
    """Roll a run back because a person asked for it."""
    with _held(session, before.id) as lock:
        run = Run(before.id, session.plan, session.target, session.journal, lock, 0, session.observer, session.stop)
        # what cannot be done is said before anything is recorded
        todo = steps_to_undo(run, to=to, via=via)
        with made_ready(run, todo, via, session.agree):
            _take_lease(run)
            _clean_up(run)
            return _roll_back(run, session, "a person asked for it", to=to, via=via)


def _from_the_checks(run: Run, session: Session) -> RunState:
    """A run that has changed nothing yet: all checks, the lease, the steps."""
    try:
        passed = _checked(run, session)
    except Interrupted as error:
        return _finish(run, "interrupted", error.message)
    if not passed:
        return _finish(run, "refused", "a check said no; nothing was changed")
    _take_lease(run)
    return _carry_on(run, session)


def _clean_up(run: Run) -> None:
    """End what a dead engine left running, and put on record which steps it left unfinished."""
    for event in end_leftovers(run.journal.records(run.id), run.state, os.uname().nodename):
        run.record(event)


def end_leftovers(records: Iterable[Record], state: RunState, here: str) -> list[e.StepInterrupted]:
    """End what a dead engine left running on this machine; the steps that it left unfinished."""
    for record in records:
        if isinstance(record.event, e.LeaseTaken) and record.event.host == here:
            end_orphans(record.event.pid, record.event.pid_started, grace=10.0)
    for step in state.steps.values():
        if step.process is not None:
            end_leftover(*step.process, grace=10.0)
    reason = "found unfinished: the process that ran it is gone"
    return [e.StepInterrupted(step=s.id, reason=reason) for s in state.steps.values() if s.state == "running"]


@contextmanager
def _held(session: Session, run_id: str) -> Iterator[EnvironmentLock]:
    target = session.target
    with EnvironmentLock(target.home.locks, target.environment, about=about_me(run_id, target.clock.now())) as lock:
        yield lock


def _take_lease(run: Run) -> None:
    run.fence = run.journal.take_lease(run.id, run.target.environment, at_least=seen_by(run.target) + 1)
    run.learn(list(run.journal.records(run.id))[-1])


def beginning(session: Session) -> e.RunStarted:
    """How a run of this plan begins, in this place, now."""
    plan, target = session.plan, session.target
    found, own = identity(target), own_identities(target)
    return e.RunStarted(
        environment=plan.environment, name=plan.runbook.spec.name, runbook_digest=plan.runbook.digest,
        plan_digest=plan.digest, commit=plan.commit, target=vars(found) if found else None, actor=session.actor,
        host=os.uname().nodename, version=version("deployguard"),
        settings={**plan.settings, **({"selection": plan.selection.as_json()} if plan.selection else {})},
        definition={
            **plan.runbook.data, "file": plan.runbook.file.name,
            **({"derived": True} if plan.runbook.derived else {}), **({"aside": True} if plan.runbook.aside else {}),
        },
        steps=[
            {
                "id": s.id, "uses": s.uses, "summary": s.spec.summary or (s.kind.__doc__ or "").split("\n")[0],
                "check": s.kind.check, "idempotent": s.step().repeatable(), "rollback": _undo_name(s),
                **({"target": vars(own[s.id]) if own[s.id] else None} if s.id in own else {}),
            }
            for s in plan.steps
        ],
    )  # fmt: skip


def _undo_name(step: Any) -> str | None:  # noqa: ANN401
    if step.rollback is not None:
        return str(step.rollback.uses)
    return step.uses if step.kind.model_construct().reversible() else None


def _checked(run: Run, session: Session) -> bool:
    passed = True
    others = [r for i, r in fold(session.journal.records()).items() if i != run.id]
    for verdict in run_checks(session.plan, session.target, others, run.observer.progressed, run.stop.now):
        run.record(
            e.CheckFinished(
                check=verdict.id, uses=verdict.uses, status=verdict.status, summary=verdict.summary,
                hint=verdict.hint, evidence=verdict.evidence, seconds=verdict.seconds,
            )
        )  # fmt: skip
        passed = passed and verdict.status != "fail"
        run.stop.check()
    return passed


def _check_decisions(run: Run, session: Session) -> None:
    for step, decision in session.decisions.items():
        state = run.state.steps.get(step)
        if state is None:
            raise UsageError(f"--decide {step}: the run has no such step", hint=f"Steps: {', '.join(run.state.steps)}.")
        # a gate that was told no has failed, and waits no more
        gate = state.state == "waiting" or state.uses.startswith(GATES)
        if gate and decision in {"skip", "done"} and not session.why:
            raise UsageError(
                f"--decide {step}={decision} passes over a gate: that needs a reason",
                hint="Add --why; it stands at the top of the report.",
            )
        if state.state not in {"interrupted", "running", "failed"} and (state.state, decision) != ("waiting", "skip"):
            raise UsageError(
                f"--decide {step}: the step is {state.state}, there is nothing to decide",
                hint="'deployguard show' says which steps need a decision.",
            )


def _accepted(session: Session, before: RunState) -> dict[str, Any]:
    """What a resumed run goes on with where it is not what it began with; {} where it is.

    Raises:
        Refused: a step that was begun would be lost, and with it its undo.
    """
    then, head = before.started, other_commit(before, session.target)
    code = {"code": {"before": then.commit, "now": head}} if head else {}
    if session.plan.digest == then.plan_digest and not moved(then, session.target):
        return code
    now = beginning(session)
    uses = {s["id"]: s["uses"] for s in now.steps}
    for step in before.steps.values():
        if step.attempts and uses.get(step.id) != step.uses:
            what = f"is {uses[step.id]} now" if step.id in uses else "is not in the new plan"
            raise Refused(
                f"step {step.id} ({step.uses}) was begun, and {what}: nobody would know how to undo it",
                hint="Put it back as it was; a step that is done is not done again. Or roll back first.",
            )
    return {**code, "plan": {"before": then.plan_digest, "now": now.plan_digest}, "beginning": vars(now)}


def _carry_on(run: Run, session: Session) -> RunState:
    """Execute until the end, or until something stops it; the run's end is always on record."""
    try:
        execute_steps(run)
    except Interrupted as error:
        return _finish(run, "interrupted", error.message)
    except Waiting as error:
        return _finish(run, "waiting", error.message)
    except NeedsPerson as error:
        _finish(run, "failed", error.message)
        raise
    except (LeaseLost, NotRecorded):
        raise
    except StepFailed as error:
        session.failure = error.__cause__ if isinstance(error.__cause__, DeployguardError) else error
        return _after_failure(run, session, error)
    return _finish(run, "succeeded", "")


def _after_failure(run: Run, session: Session, error: StepFailed) -> RunState:
    # the last one: those before it that failed were allowed to
    failed = next((p for p in reversed(run.plan.steps) if run.state.steps[p.id].state == "failed"), None)
    policy = (failed.spec.on_failure if failed else None) or run.plan.target.on_failure
    if policy == "ask":
        policy = session.ask(error) if session.ask is not None else "stop"
    if policy == "stop":
        return _finish(run, "failed", error.message)
    return _roll_back(run, session, error.message, to=None, via="decrypt")


def _roll_back(run: Run, session: Session, reason: str, *, to: str | None, via: str) -> RunState:
    try:
        complete = roll_back(run, reason=reason, actor=session.actor, to=to, via=via)
    except Interrupted as error:
        return _finish(run, "interrupted", error.message)
    return _finish(run, "rolled_back" if complete else "rollback_incomplete", reason)


def _finish(run: Run, state: str, reason: str) -> RunState:
    run.record(e.RunFinished(state=state, reason=run.target.masker.mask_text(reason)))
    if run.fence:
        run.record(e.LeaseReleased(environment=run.target.environment, fence=run.fence))
    return run.state
