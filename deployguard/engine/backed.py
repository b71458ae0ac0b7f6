"""Whether a backup of a step's database was restored in this run, before the step rewrites rows."""

from collections.abc import Iterator
from itertools import groupby

from deployguard.engine.plan import Plan, PlannedStep
from deployguard.engine.target import database_of
from deployguard.errors import Refused
from deployguard.journal.state import RunState
from deployguard.runbook.backed import WHAT_TO_DO, reason_in
from deployguard.runbook.expressions import ExpressionError
from deployguard.steps.base import Outcome, Target


def backed(plan: Plan, target: Target) -> Iterator[tuple[PlannedStep, Outcome]]:
    """What can be said before a run, once for each step of the runbook that would begin without a restored backup.

    It warns where the step says why, and fails where it does not. A backup that the person left out,
    or whose condition is false already, is none.
    """
    for _, items in groupby(plan.steps, lambda planned: planned.spec.id):
        for planned in items:
            if planned.kind.needs_backup and runs(plan, planned) and (said := _unbacked(plan, target, planned)):
                yield planned, said
                break


def _unbacked(plan: Plan, target: Target, planned: PlannedStep) -> Outcome | None:
    evidence = {"step": planned.id, "without_backup": reason_in(planned.values)}
    if why := reason_in(planned.values):
        return Outcome(f"{planned.id} rewrites rows without a backup that was restored: {why}", "warn", "", evidence)
    above = _above(plan, target, planned)
    if any(runs(plan, each) for each in above):
        return None
    left_out = f"; {', '.join(each.id for each in above)} would not be run" if above else ""
    summary = f"{planned.id} rewrites rows, and no step before it backs up the same database{left_out}"
    return Outcome(summary, "fail", WHAT_TO_DO, evidence)


def require_backup(plan: Plan, target: Target, state: RunState, planned: PlannedStep) -> None:
    """Go on only if this run has a backup of the step's database that was restored.

    Raises:
        Refused: it has none, and the step does not say why.
    """
    if not planned.kind.needs_backup or reason_in(planned.values):
        return
    above = [state.steps[each.id] for each in _above(plan, target, planned)]
    if any(each.state == "succeeded" and each.outputs.get("state") == "restored" for each in above):
        return
    found = [f"{each.id} {each.state}" + (f" ({s})" if (s := each.outputs.get("state")) else "") for each in above]
    raise Refused(
        f"step {planned.id} rewrites rows, and this run has no backup of its database that was restored"
        + (f": {', '.join(found)}" if found else ""),
        hint=WHAT_TO_DO,
    )


def _above(plan: Plan, target: Target, planned: PlannedStep) -> list[PlannedStep]:
    """The steps before one that back up its database."""
    here = database_of(target, planned)
    before = plan.steps[: next(i for i, each in enumerate(plan.steps) if each.id == planned.id)]
    return [each for each in before if database_of(target, each) == here and each.step().backs_up()]


def runs(plan: Plan, planned: PlannedStep) -> bool:
    """Whether it would be run, as far as that is known before a run."""
    try:
        return planned.selected and planned.holds(plan.names) is not False
    except ExpressionError:
        return True  # the step itself says what is wrong with it
