"""The saga's way back: compensate what was begun, last step first.

One step that cannot be undone does not keep the others from being undone. The order
is fixed and each undo is on record, so a rollback that is itself interrupted goes on
where it stopped, and a second rollback finds nothing to do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from deployguard.engine.execute import STOPS, Run, log_of, remove_files
from deployguard.engine.plan import PlannedStep, positions
from deployguard.engine.retry import attempts
from deployguard.engine.target import database_of
from deployguard.errors import DeployguardError, Refused
from deployguard.journal import events as e
from deployguard.steps.base import Context, Outcome, Step

_KILLED = frozenset({"running", "interrupted", "compensating", "stuck"})
"""States of a step whose execution may have been killed, or whose tidying up was."""


def steps_to_undo(run: Run, *, to: str | None, via: str) -> list[PlannedStep]:
    """Steps with an effect that is not undone, last first.

    Args:
        run: the run whose effects are undone.
        to: undo only what came after this step.
        via: `decrypt` undoes step by step; `restore` lets a restored backup undo
            whatever stands in the database.

    Raises:
        UsageError: there is no such step.
        Refused: nothing that is to be undone would put a backup back.
    """
    if via == "restore" and not any(_puts_back(run, p) for p in _within(run, to)):
        raise Refused(
            f"run {run.id} has no backup to restore" + (f" after {to}" if to else ""),
            hint="Leave out --via restore to undo it step by step. "
            "A backup step restores by rollback: { uses: backup.restore, when: requested }.",
        )
    return [p for p in _within(run, to) if run.state.steps[p.id].to_undo and _undo_of(run, p, via)]


def _puts_back(run: Run, planned: PlannedStep) -> bool:
    """Whether a rollback by restore puts the step's backup back, or has done so."""
    mine = run.state.steps[planned.id]
    restores = planned.rollback is not None and planned.rollback.kind.restores
    return restores and (mine.to_undo or mine.state == "compensated")


@contextmanager
def made_ready(run: Run, todo: Sequence[PlannedStep], via: str, agree: Callable[[Any], None]) -> Iterator[None]:
    """Do of a restore what changes nothing, and have a person agree to it before anything is undone.

    Args:
        run: what is made ready waits with it.
        todo: the steps to undo.
        via: as the rollback goes.
        agree: shown what stands ready; raises what keeps the rollback from beginning.
    """
    with ExitStack() as held:
        for undo in [p.rollback for p in todo if via == "restore" and p.rollback and p.rollback.kind.restores]:
            context = run.context(undo, run.state.steps[undo.id])
            standing = held.enter_context(undo.bind(run.names(undo)).made_ready(context))
            agree(standing)
            run.ready[undo.id] = standing
        yield


def _within(run: Run, to: str | None) -> list[PlannedStep]:
    begin = positions(run.plan.steps, to)[-1] + 1 if to is not None else 0
    return list(reversed(run.plan.steps[begin:]))


def _undo_of(run: Run, planned: PlannedStep, via: str) -> PlannedStep | None:
    """What is executed to undo a step, or the step itself where its kind knows."""
    if via == "restore" and planned.kind.undone_by_restore and _is_restored(run, planned):
        return None
    if planned.rollback is not None and (planned.when == "failure" or via == "restore"):
        return planned.rollback
    mine = run.state.steps[planned.id]
    if planned.kind.tidies and mine.state in _KILLED and not mine.evidence:
        return planned
    return planned if planned.kind.model_construct().reversible() else None


def _is_restored(run: Run, planned: PlannedStep) -> bool:
    """Whether a backup that this rollback puts back is of the database that the step has worked on."""
    mine = database_of(run.target, planned)
    return any(_puts_back(run, p) and database_of(run.target, p) == mine for p in run.plan.steps)


def roll_back(run: Run, *, reason: str, actor: str, to: str | None = None, via: str = "decrypt") -> bool:
    """Undo a run's steps; True when nothing is left to undo.

    Raises:
        Interrupted, LeaseLost, NotRecorded: stopped on the way; a later rollback goes on.
    """
    todo = steps_to_undo(run, to=to, via=via)
    run.record(e.RollbackStarted(reason=reason, actor=actor, to=to, via=via))
    complete = True
    for planned in todo:
        run.safe_point()
        run.hold_while_paused(planned.id)
        complete = _undo(run, planned, via) and complete
    for planned in _within(run, to):
        if _is_to_settle(run, planned, via):
            run.safe_point()
            complete = _undo(run, planned, via, settling=True) and complete
    return complete


def _is_to_settle(run: Run, planned: PlannedStep, via: str) -> bool:
    mine = run.state.steps[planned.id]
    own = _undo_of(run, planned, via) is planned and planned.kind.settle is not Step.settle
    return own and mine.state == "compensated" and not mine.settled


def _undo(run: Run, planned: PlannedStep, via: str, *, settling: bool = False) -> bool:
    """Undo one step, tried again as its policy says; False when a person is needed."""
    undo = _undo_of(run, planned, via) or planned
    clock, begun = run.target.clock, run.target.clock.monotonic()

    def once() -> None:
        nonlocal begun
        begun = clock.monotonic()
        _compensate(run, planned, undo, settling=settling)

    def failed(error: DeployguardError) -> None:
        _record_failure(run, planned, undo, error, clock.monotonic() - begun)

    try:
        attempts(planned.spec.retry, clock, run.pause(planned.id), failed)(once)
    except STOPS:
        raise
    except DeployguardError as error:
        failed(error)
        return False
    finally:
        remove_files(run, undo)
    return True


def _compensate(run: Run, planned: PlannedStep, undo: PlannedStep, *, settling: bool) -> None:
    mine = run.state.steps[planned.id]
    begun = run.target.clock.monotonic()
    number = mine.undo_attempts + 1
    run.record(
        e.CompensationStarted(step=planned.id, uses=undo.uses, attempt=number, before=mine.before, settling=settling)
    )
    step, context = undo.bind(run.names(undo)), run.context(undo, mine)
    outcome = _outcome(step, context, own=undo is planned, settling=settling)
    run.record(
        e.CompensationFinished(
            step=planned.id, summary=outcome.summary, evidence=outcome.evidence,
            tail=outcome.result.tail if outcome.result else "", log=log_of(run, undo),
            seconds=round(run.target.clock.monotonic() - begun, 3),
        )
    )  # fmt: skip


def _record_failure(run: Run, planned: PlannedStep, undo: PlannedStep, error: DeployguardError, seconds: float) -> None:
    left = error.hint or "Undo this step by hand, then run 'deployguard rollback' again."
    run.record(
        e.CompensationFailed(
            step=planned.id, error=run.target.masker.mask_text(error.message), left=left,
            tail=getattr(error, "tail", ""), log=log_of(run, undo), seconds=round(seconds, 3),
        )
    )  # fmt: skip


def _outcome(step: Step, context: Context, *, own: bool, settling: bool) -> Outcome:
    if not own:
        return step.execute(context)
    context.target.remembered.clear()
    outcome = step.settle(context) if settling else step.compensate(context)
    return outcome or Outcome("there was nothing to undo")
