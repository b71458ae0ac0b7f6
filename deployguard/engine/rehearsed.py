"""What a rehearsal has measured of each step, and whether an environment that others are promoted to has one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deployguard.engine.backed import runs
from deployguard.engine.plan import Plan, PlannedStep
from deployguard.journal.state import RunState
from deployguard.runbook.matrix import item_id, split_id
from deployguard.steps.base import Outcome

Measured = dict[str, Any]
_KIND = "rehearse"


def measured_in(state: RunState) -> dict[str, Measured]:
    """What the finished rehearsals of a run measured, by the step that they tried."""
    found: dict[str, Measured] = {}
    for step in state.steps.values():
        if step.uses == _KIND:  # only one that ended well has evidence, and a rollback takes none of it away
            item = split_id(step.id)[1]
            for each in step.evidence.get("steps", ()):
                # those of before have no measures but the time
                name = item_id(each["step"], item) if item else each["step"]
                found[name] = {**each, "run": state.id, "at": step.ended}
    return found


def measured_before(plan: Plan, states: Iterable[RunState]) -> dict[str, Measured]:
    """What the newest rehearsal of the same runbook and commit measured in the plan's environment."""
    for state in reversed(list(states)):
        started = state.started
        same = (state.environment, started.runbook_digest, started.commit)
        if same == (plan.environment, plan.runbook.digest, plan.commit) and (found := measured_in(state)):
            return found
    return {}


def of_item(measured: Mapping[str, Measured], planned: PlannedStep) -> dict[str, Measured]:
    """Those of the same item of a matrix as the step's own; of none where it is of none."""
    return {name: each for name, each in measured.items() if split_id(name)[1] == split_id(planned.id)[1]}


def rehearsed(plan: Plan) -> Iterator[Outcome]:
    """What can be said before a run, where another environment comes first: is each rewriting of rows tried on a copy?

    It warns where the runbook says why not, and fails where it does not.
    """
    requires = plan.target.requires
    if requires.promoted_from is None:
        return
    untried = dict.fromkeys(
        planned.spec.id
        for position, planned in enumerate(plan.steps)
        if planned.kind.needs_backup and runs(plan, planned) and not _is_tried(plan, planned, position)
    )
    if not untried:
        return
    what = f"{', '.join(untried)} would rewrite rows that nobody has tried it on"
    if why := requires.without_rehearsal.strip():
        yield Outcome(f"{what}: {why}", "warn", "", {"steps": list(untried), "without_rehearsal": why})
        return
    hint = (
        f"Put a step uses: rehearse with steps: [{', '.join(untried)}] above it and leave it in, or say why not in"
        f" requires: {{ without_rehearsal: … }} of {plan.environment}."
    )
    yield Outcome(f"{what}: no rehearsal on a copy of the data comes before", "fail", hint, {"steps": list(untried)})


def _is_tried(plan: Plan, planned: PlannedStep, position: int) -> bool:
    return any(
        each.uses == _KIND and each.matrix == planned.matrix and not each.spec.continue_on_error and runs(plan, each)
        and any(planned.goes_by(name) for name in each.values["steps"])
        for each in plan.steps[:position]
    )  # fmt: skip
