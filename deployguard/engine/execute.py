"""Plan → run: each step's intent on record before its effect, its end after it.

The order of durable acts is the whole point of this file:

    RunStarted · checks · LeaseTaken · (StepStarted · effect · StepFinished)* · RunFinished

A process that dies between any two of them leaves a record from which the next one
knows what was begun and what was ended, and nothing else is believed.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import RLock
from typing import Any

from deployguard.engine.backed import require_backup
from deployguard.engine.items import execute_items, undecided
from deployguard.engine.observe import Guarded, Nobody, Observer
from deployguard.engine.pause import LOOK, pause_file, paused
from deployguard.engine.plan import Plan, PlannedStep
from deployguard.engine.promotion import promotion
from deployguard.engine.rehearsed import measured_in, of_item
from deployguard.engine.retry import attempts
from deployguard.engine.stop import Stop
from deployguard.engine.target import (
    Fetching,
    database_of,
    rendered_environment,
    target_of,
    variables_of,
    working_folder,
)
from deployguard.errors import (
    Breached,
    DeployguardError,
    Interrupted,
    LeaseLost,
    NeedsPerson,
    NotRecorded,
    Refused,
    StepFailed,
    StepTimedOut,
    Waiting,
)
from deployguard.journal import events as e
from deployguard.journal.base import Journal, Record
from deployguard.journal.lock import EnvironmentLock
from deployguard.journal.state import RunState, StepState, advance, fold
from deployguard.process import Result, base_environment, run
from deployguard.runbook.expressions import ExpressionError, render
from deployguard.runbook.matrix import item_id
from deployguard.secret import Secret
from deployguard.steps.base import Answer, Context, Outcome, Progress, Step, Target, show


@dataclass
class Run:
    """One run under way in this process: who may write, where to, and who watches."""

    id: str
    plan: Plan
    target: Target
    journal: Journal
    lock: EnvironmentLock
    fence: int = 0
    observer: Observer = field(default_factory=Nobody)
    stop: Stop = field(default_factory=Stop)
    once: bool = False
    """Whether a monitor looks once and then waits."""
    halted: str = ""
    """The item of a matrix that failed: the others stop at their next safe point."""
    ready: dict[str, Any] = field(default_factory=dict)
    """What was made ready for a step, by its id."""
    _state: RunState | None = None
    _writing: RLock = field(default_factory=RLock)
    """Items at work at the same time share the journal and the state."""

    def __post_init__(self) -> None:
        """Never let a watcher stop the work; begin from what is on record."""
        self.observer = Guarded(self.observer)
        for record in self.journal.records(self.id):
            self._state = advance(self._state, record)

    def record(self, event: e.Event) -> None:
        """Make an event durable, under this run's lease once it has one."""
        with self._writing:
            self.learn(self.journal.append(self.id, event, fence=self.fence or None))

    def learn(self, record: Record) -> None:
        """Take in an event that is durable already."""
        with self._writing:
            self._state = advance(self._state, record)
            self.observer.recorded(record)

    @property
    def state(self) -> RunState:
        """What the journal says of this run now."""
        assert self._state is not None, "a run is recorded before anything is asked of it"  # noqa: S101
        return self._state

    def names(self, planned: PlannedStep) -> dict[str, Any]:
        """Values of all names that a step's expressions may use at this point."""
        steps = _Steps(self.state, planned)
        return {**self.plan.names, "run": {"id": self.id}, "steps": steps, "matrix": planned.matrix}

    def context(self, planned: PlannedStep, mine: StepState) -> Context:
        """What one execution of a step is given."""
        folder = self.target.home.run(self.id)
        names = self.names(planned)
        env = variables_of(self.plan, self.target, planned, names)
        env |= _files(planned, names, Fetching(self.target.secrets), folder)
        target = target_of(self.target, planned, env)
        place = working_folder(self.target.directory, planned.spec.cwd, names)
        deadline = time.monotonic() + planned.spec.timeout if planned.spec.timeout is not None else None

        def pulse(progress: Progress) -> None:
            nonlocal deadline
            self.observer.progressed(planned.id, progress)
            self.safe_point()
            held = self.hold_while_paused(planned.id)
            deadline = deadline + held if deadline is not None else None
            if deadline is not None and time.monotonic() > deadline:
                raise StepTimedOut(
                    f"step {planned.id} was not done in time", hint="Raise its timeout: if it needs longer."
                )

        def command(
            argv: Sequence[str],
            *,
            cwd: Path,
            env: Mapping[str, str | Secret],
            on_output: Callable[[bytes], None] | None = None,
        ) -> Result:
            there = place if cwd == self.target.directory else cwd
            return self._command(planned, argv, there, env, folder, deadline, on_output)

        def sample(condition: str, ok: bool, value: str, elapsed: float, **more: Any) -> None:  # noqa: ANN401
            self.record(e.Sampled(step=planned.id, condition=condition, ok=ok, value=value, elapsed=elapsed, **more))

        return Context(
            target=target, run=self.id, step=planned.id, fence=self.fence, pulse=pulse, run_command=command,
            began=datetime.fromisoformat(self.state.at).timestamp(), before=mine.before, folder=folder, env=env,
            sample=sample, answers=self._answers(planned.id), starter=self.state.started.actor,
            watched=self.state.watched.get(planned.id), once=self.once,
            sibling=partial(self._sibling, planned), ready=self.ready.get(planned.id), promoted=self._promoted,
            measured=of_item(measured_in(self.state), planned),
        )  # fmt: skip

    def _promoted(self, source: str, within: float) -> Outcome:
        if source not in self.plan.runbook.spec.environments:
            raise Refused(f"the runbook has no environment {source}", hint="Correct from:.")
        return promotion(self.plan, source, within, fold(self.journal.records()).values(), self.target.clock.now())

    def _sibling(self, asking: PlannedStep, step: str) -> tuple[Step, Mapping[str, str | Secret]]:
        name = same_item(step, asking)
        planned = next((p for p in self.plan.steps if p.id in {step, name}), None)
        if planned is None:
            ids = ", ".join(p.id for p in self.plan.steps)
            raise Refused(f"there is no step {step}", hint=f"Steps: {ids}.")
        if database_of(self.target, planned) != database_of(self.target, asking):
            hint = f"Give {asking.id} the same database: as {planned.id}."
            raise Refused(f"step {planned.id} works on another database than {asking.id}", hint=hint)
        names = self.names(planned)
        return planned.bind(names), variables_of(self.plan, self.target, planned, names)

    def _answers(self, step: str) -> tuple[Answer, ...]:
        started = self.state.started
        return tuple(
            Answer(
                given.verdict, given.who, given.why, datetime.fromisoformat(at),
                current=(given.plan_digest, given.commit, given.target)
                == (self.plan.digest, self.plan.commit, started.target),
            )
            for at, given in self.state.answers
            if given.step == step
        )  # fmt: skip

    def safe_point(self) -> None:
        """Stop here if asked to, if another item failed, or if the environment is no longer ours."""
        self.stop.check()
        if self.halted:
            raise Interrupted(f"stopped at a safe point, since {self.halted} failed")
        self.lock.require()

    def hold_while_paused(self, step: str) -> float:
        """Do nothing for as long as somebody has paused the run; the seconds that took."""
        file, begun = pause_file(self.target.home, self.id), time.monotonic()
        found = paused(file)
        if found is None:
            return 0.0
        if not found.ended_by:
            self.record(e.DecisionTaken(step=step, decision="pause", who=found.who, why=found.why))
            note = f"by {found.who}; 'deployguard pause {self.id} --end' lets it go on"
            while (now := paused(file)) is not None and not now.ended_by:
                self.observer.progressed(step, Progress("paused", 0, note=note))
                self.safe_point()
                time.sleep(LOOK)
            self.record(e.DecisionTaken(step=step, decision="go on", who=now.ended_by if now else found.who))
        file.unlink(missing_ok=True)
        return time.monotonic() - begun

    def pause(self, step: str) -> Callable[[float], None]:
        """Waiting between two attempts of a step, with a safe point twice a second."""

        def wait(seconds: float) -> None:
            clock = self.target.clock
            until = clock.monotonic() + seconds
            while (left := until - clock.monotonic()) > 0:
                note = Progress("waiting before the next attempt", 0, note=f"{left:.0f} s")
                self.observer.progressed(step, note)
                self.safe_point()
                clock.sleep(min(0.5, left))

        return wait

    def _command(
        self,
        planned: PlannedStep,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str | Secret],
        folder: Path,
        deadline: float | None,
        on_output: Callable[[bytes], None] | None,
    ) -> Result:
        self.lock.require()
        result = run(
            argv,
            cwd=cwd,
            env={**base_environment(), **env},
            timeout=None if deadline is None else max(0.1, deadline - time.monotonic()),
            masker=self.target.masker,
            log=folder / f"{planned.id}.log",
            on_line=lambda line: self.observer.printed(planned.id, line),
            on_output=on_output,
            on_start=lambda pid, began: self.record(e.ProcessStarted(step=planned.id, pid=pid, pid_started=began)),
            should_stop=self.stop.now,
        )
        if result.stopped:
            raise Interrupted(
                f"step {planned.id} was ended on request", hint="Run 'deployguard deploy --resume' to go on."
            )
        if result.timed_out:
            raise StepTimedOut(
                f"{show(argv)} was not done in time and was ended", hint="Raise its timeout: if it needs longer.",
                command_exit=result.exit, tail=result.tail,
            )  # fmt: skip
        return result


class _Steps(Mapping[str, Any]):
    """`steps.ID.outputs.NAME`, looked up only when an expression asks; of a matrix, the same item's."""

    def __init__(self, state: RunState, asking: PlannedStep) -> None:
        self._state, self._asking = state, asking

    def __getitem__(self, name: str) -> dict[str, Any]:
        steps = self._state.steps
        step = steps[name] if name in steps else steps[same_item(name, self._asking)]
        return {"outputs": step.outputs, "state": step.state}

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.steps)

    def __len__(self) -> int:
        return len(self._state.steps)


def same_item(step: str, asking: PlannedStep) -> str:
    """What an item of a matrix means by the id of another step with the same matrix."""
    return item_id(step, *asking.matrix.values()) if asking.matrix else step


def _files(
    planned: PlannedStep, names: Mapping[str, Any], known: Mapping[str, Secret], folder: Path
) -> dict[str, str | Secret]:
    """Write the step's `files:`, each 0600 from its first byte; the paths by variable name."""
    paths: dict[str, str | Secret] = {}
    for name, text in rendered_environment(planned.spec.files, names, known).items():
        path = folder / f"{planned.id}.{name}"
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            stream.write(text.reveal() if isinstance(text, Secret) else text)
        paths[name] = str(path)
    return paths


def remove_files(run_: Run, planned: PlannedStep) -> None:
    """Remove what `files:` wrote, once the step has ended."""
    for name in planned.spec.files:
        (run_.target.home.run(run_.id) / f"{planned.id}.{name}").unlink(missing_ok=True)


STOPS = (Interrupted, LeaseLost, NeedsPerson, NotRecorded, Waiting)
"""What ends the whole run here and is nobody's failure; everything else that is foreseeable fails the step."""


def execute_steps(run_: Run) -> None:
    """Carry out every step that is not done yet.

    Raises:
        StepFailed: a step gave up; its event is on record.
        Interrupted, Waiting, NeedsPerson, LeaseLost: the run stops here; see their classes.
    """
    for _, items in groupby(run_.plan.steps, lambda planned: planned.spec.id):
        execute_items(run_, [i for i in items if not _is_over(i, run_.state.steps[i.id])], _execute_one)


def _is_over(planned: PlannedStep, mine: StepState) -> bool:
    return mine.state in {"succeeded", "skipped"} or (mine.state == "failed" and planned.spec.continue_on_error)


def _execute_one(run_: Run, planned: PlannedStep) -> None:
    run_.safe_point()
    run_.hold_while_paused(planned.id)
    mine = run_.state.steps[planned.id]
    try:
        ready = _prepared(run_, planned, mine)
        if ready is not None:
            _attempts(run_, planned, *ready, mine)
    except STOPS:
        raise
    except DeployguardError as error:
        if run_.state.steps[planned.id].state == mine.state == "pending":
            run_.record(_failed(run_, planned, 0, error, final=True, seconds=0.0))
            if planned.spec.continue_on_error:
                return
        if isinstance(error, StepFailed):
            raise
        raise _as_failure(error) from error
    finally:
        remove_files(run_, planned)
        if not (planned.kind.check or planned.kind.keeps_code):
            run_.target.remembered.clear()


def _prepared(run_: Run, planned: PlannedStep, mine: StepState) -> tuple[Step, Context] | None:
    """The step and what it is given; None when there is nothing to do, which is then on record."""
    if mine.state == "pending" and (reason := _skipped(run_, planned)):
        run_.record(e.StepSkipped(step=planned.id, reason=reason))
        return None
    step = planned.bind(run_.names(planned))
    context = run_.context(planned, mine)
    if mine.state == "interrupted":
        return None if _found_done(run_, planned, step, context, mine) else (step, context)
    if mine.state == "pending" and step.is_done(context):
        run_.record(e.StepSkipped(step=planned.id, reason="already done"))
        return None
    if mine.attempts == 0:
        require_backup(run_.plan, run_.target, run_.state, planned)
    return step, context


def _skipped(run_: Run, planned: PlannedStep) -> str:
    if not planned.selected:
        return "not selected"
    if planned.condition is None:
        return ""
    try:
        return "" if render(planned.condition, run_.names(planned)) else "condition false"
    except ExpressionError as error:
        raise Refused(f"step {planned.id}: if: {error}", hint="Mend the condition in the runbook.") from None


def _found_done(run_: Run, planned: PlannedStep, step: Step, context: Context, mine: StepState) -> bool:
    """Decide about a step that was begun and has no end on record; True when it needs no more work."""
    if mine.decision == "retry" or step.repeatable():
        return False
    done = step.is_done(context)
    if done is None:
        raise undecided(run_.target.environment, [planned.id])
    if done:
        run_.record(e.StepFinished(step=planned.id, attempt=mine.attempts, summary="found done by its own check"))
    return done


def _attempts(run_: Run, planned: PlannedStep, step: Step, context: Context, mine: StepState) -> None:
    clock, number, begun = run_.target.clock, mine.attempts, run_.target.clock.monotonic()
    first = number + 1
    capture = mine.before or step.capture(context)

    def once() -> None:
        nonlocal number, begun
        number, begun = number + 1, clock.monotonic()
        # each attempt has the step's whole time
        given = context if number == first else run_.context(planned, run_.state.steps[planned.id])
        _attempt(run_, planned, step, replace(given, before=capture), number)

    def failed(error: DeployguardError, *, final: bool = False) -> None:
        run_.record(_failed(run_, planned, number, error, final=final, seconds=clock.monotonic() - begun))

    try:
        attempts(planned.spec.retry, clock, run_.pause(planned.id), failed)(once)
    except STOPS:
        raise
    except DeployguardError as error:
        failed(error, final=True)
        if not planned.spec.continue_on_error:
            raise _as_failure(error) from error


def _attempt(run_: Run, planned: PlannedStep, step: Step, context: Context, number: int) -> None:
    begun = run_.target.clock.monotonic()
    run_.record(
        e.StepStarted(
            step=planned.id, uses=planned.uses, attempt=number, commands=_commands(step, context),
            before=dict(context.before),
        )
    )  # fmt: skip
    try:
        outcome = step.execute(context)
        _refuse_failed_check(outcome)
    except Interrupted as error:
        run_.record(e.StepInterrupted(step=planned.id, reason=error.message))
        raise
    except Waiting as error:
        run_.record(e.StepWaiting(step=planned.id, reason=error.message, until=error.until or None))
        raise
    run_.record(_finished(run_, planned, number, outcome, run_.target.clock.monotonic() - begun))


def _as_failure(error: DeployguardError) -> StepFailed:
    return error if isinstance(error, StepFailed) else StepFailed(error.message, hint=error.hint)


def _refuse_failed_check(outcome: Outcome) -> None:
    if outcome.status == "fail":
        result = outcome.result
        raise StepFailed(
            outcome.summary, hint=outcome.hint,
            command_exit=result.exit if result else None, tail=result.tail if result else "",
        )  # fmt: skip


def _commands(step: Step, context: Context) -> list[str]:
    return [context.target.masker.mask_text(c) for c in getattr(step, "commands", lambda _: ())(context)]


def _finished(run_: Run, planned: PlannedStep, number: int, outcome: Outcome, seconds: float) -> e.StepFinished:
    result = outcome.result
    return e.StepFinished(
        step=planned.id, attempt=number, summary=outcome.summary, status=outcome.status,
        evidence={**outcome.evidence, **({"hint": outcome.hint} if outcome.hint else {})},
        outputs=outcome.outputs, command_exit=result.exit if result else None, tail=result.tail if result else "",
        log=log_of(run_, planned), seconds=round(seconds, 3),
    )  # fmt: skip


def _failed(
    run_: Run, planned: PlannedStep, number: int, error: DeployguardError, *, final: bool, seconds: float
) -> e.StepFailed:
    return e.StepFailed(
        step=planned.id, attempt=number, error=run_.target.masker.mask_text(error.message), hint=error.hint,
        final=final, breached=isinstance(error, Breached),
        command_exit=getattr(error, "command_exit", None), tail=getattr(error, "tail", ""),
        log=log_of(run_, planned), seconds=round(seconds, 3),
    )  # fmt: skip


def log_of(run_: Run, planned: PlannedStep) -> str:
    """The step's log as the journal names it; empty when it wrote none."""
    path = run_.target.home.run(run_.id) / f"{planned.id}.log"
    return run_.target.home.relative(path) if path.exists() else ""
