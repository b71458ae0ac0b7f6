"""The saga's way back: compensate what was begun, last step first.

One step that cannot be undone does not keep the others from being undone. The order
is fixed and each undo is on record, so a rollback that is itself interrupted goes on
where it stopped, and a second rollback finds nothing to do.
"""

from deployguard.engine.execute import Run, log_of, remove_files
from deployguard.engine.plan import PlannedStep
from deployguard.errors import DeployguardError, Interrupted, LeaseLost, UsageError
from deployguard.journal import events as e
from deployguard.journal.state import StepState
from deployguard.process import end_leftover
from deployguard.steps.base import Context, Outcome, Step


def steps_to_undo(run: Run, *, to: str | None, via: str) -> list[PlannedStep]:
    """Steps with an effect that is not undone, last first.

    Args:
        run: the run whose effects are undone.
        to: undo only what came after this step.
        via: `decrypt` undoes step by step; `restore` lets a restored backup undo
            whatever stands in the database.

    Raises:
        UsageError: there is no such step.
    """
    ids = [planned.id for planned in run.plan.steps]
    if to is not None and to not in ids:
        raise UsageError(f"there is no step {to!r}", hint=f"Steps: {', '.join(ids)}.")
    begin = ids.index(to) + 1 if to is not None else 0
    return [p for p in reversed(run.plan.steps[begin:]) if run.state.steps[p.id].had_effect and _undo_of(p, via)]


def _undo_of(planned: PlannedStep, via: str) -> PlannedStep | None:
    """What is executed to undo a step, or the step itself where its kind knows."""
    if via == "restore" and getattr(planned.kind, "undone_by_restore", False):
        return None
    if planned.rollback is not None and (planned.when == "failure" or via == "restore"):
        return planned.rollback
    return planned if planned.kind.model_construct().reversible() else None


def roll_back(run: Run, *, reason: str, actor: str, to: str | None = None, via: str = "decrypt") -> bool:
    """Undo a run's steps; True when nothing is left to undo.

    Raises:
        Interrupted, LeaseLost: stopped on the way; a later rollback goes on.
    """
    todo = steps_to_undo(run, to=to, via=via)
    run.record(e.RollbackStarted(reason=reason, actor=actor, to=to, via=via))
    complete = True
    for planned in todo:
        run.safe_point()
        complete = _undo_one(run, planned, via) and complete
    for planned in todo:
        if run.state.steps[planned.id].state == "compensated":
            complete = _settle(run, planned, via) and complete
    return complete


def _undo_one(run: Run, planned: PlannedStep, via: str) -> bool:
    mine = run.state.steps[planned.id]
    if mine.process is not None:
        end_leftover(*mine.process, grace=10.0)
    return _journalled(run, planned, via, mine)


def _settle(run: Run, planned: PlannedStep, via: str) -> bool:
    undo = _undo_of(planned, via)
    if undo is not planned or planned.kind.settle is Step.settle:
        return True
    return _journalled(run, planned, via, run.state.steps[planned.id], settling=True)


def _journalled(run: Run, planned: PlannedStep, via: str, mine: StepState, *, settling: bool = False) -> bool:
    undo = _undo_of(planned, via) or planned
    begun = run.target.clock.monotonic()
    attempt = mine.undo_attempts + 1
    run.record(e.CompensationStarted(step=planned.id, uses=undo.uses, attempt=attempt, before=mine.before))
    context = run.context(undo, mine)
    try:
        step = undo.bind(run.names())
        outcome = _outcome(step, context, own=undo is planned, settling=settling)
    except (Interrupted, LeaseLost):
        raise
    except DeployguardError as error:
        left = error.hint or "Undo this step by hand, then run 'deployguard rollback' again."
        run.record(
            e.CompensationFailed(
                step=planned.id, error=run.target.masker.mask_text(error.message), left=left,
                tail=getattr(error, "tail", ""), log=log_of(run, undo),
                seconds=round(run.target.clock.monotonic() - begun, 3),
            )
        )  # fmt: skip
        return False
    finally:
        remove_files(run, undo)
    run.record(
        e.CompensationFinished(
            step=planned.id, summary=outcome.summary, evidence=outcome.evidence,
            tail=outcome.result.tail if outcome.result else "", log=log_of(run, undo),
            seconds=round(run.target.clock.monotonic() - begun, 3),
        )
    )  # fmt: skip
    return True


def _outcome(step: Step, context: Context, *, own: bool, settling: bool) -> Outcome:
    if not own:
        return step.execute(context)
    outcome = step.settle(context) if settling else step.compensate(context)
    return outcome or Outcome("there was nothing to undo")
