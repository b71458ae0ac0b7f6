"""Which way back a person should take: undo step by step, or restore the backup. Nothing is changed here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from deployguard.engine.plan import Plan, PlannedStep
from deployguard.engine.preflight import read_only_context
from deployguard.errors import DeployguardError
from deployguard.journal.state import RunState
from deployguard.steps.base import Target

DECRYPT, RESTORE = "decrypt", "restore"


@dataclass(frozen=True)
class Advice:
    """A way back, and why it is the better one."""

    via: str
    why: str


def advice(plan: Plan, target: Target, state: RunState) -> Advice:
    """Weigh the two ways back of a run.

    Undoing step by step loses nothing that was written since, as long as it can be done:
    the keys must open what the run has encrypted. Restoring always can, and loses it.
    """
    begun = [planned for planned in plan.steps if state.steps[planned.id].to_undo]
    obstacles = list(_obstacles(begun, plan, target, state))
    rewritten = [p.id for p in begun if p.kind.undone_by_restore]
    if not obstacles and rewritten:
        return Advice(DECRYPT, f"{_and(rewritten)} can be undone in place, and nothing that was written since is lost")
    if not obstacles:
        return Advice(DECRYPT, "nothing was rewritten in the database, so there is nothing that a restore would mend")
    why = "; ".join(obstacles)
    if any(p.rollback is not None and p.rollback.kind.restores for p in begun):
        return Advice(RESTORE, f"undoing step by step would not work: {why}")
    return Advice(DECRYPT, f"there is no backup of this run to restore; but {why}")


def _obstacles(begun: list[PlannedStep], plan: Plan, target: Target, state: RunState) -> Iterator[str]:
    for planned in begun:
        context = replace(read_only_context(planned, plan, target), run=state.id, before=state.steps[planned.id].before)
        try:
            found = planned.step().obstacle(context)
        except DeployguardError as error:
            found = target.masker.mask_text(error.message)
        if found:
            yield f"{planned.id}: {found}"


def _and(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
