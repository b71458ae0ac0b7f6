"""Whether the same change has succeeded somewhere else first: asked of the journal, not claimed."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from deployguard.engine.plan import Plan
from deployguard.runbook.quantities import spell
from deployguard.steps.base import Outcome

if TYPE_CHECKING:
    from deployguard.journal.state import RunState


def promotion(plan: Plan, source: str, within: float, runs: "Iterable[RunState]", now: datetime) -> Outcome:
    """Pass if a run brought the plan's commit and runbook, whole, to another environment.

    Args:
        plan: what is to be promoted.
        source: the environment where it must have succeeded.
        within: seconds that may have passed since.
        runs: all that are on record.
        now: in UTC.
    """
    reason = f"the journal has no run in {source}"
    for state in reversed([r for r in runs if r.environment == source and not r.started.definition.get("derived")]):
        age = (now - datetime.fromisoformat(state.ended or state.at)).total_seconds()
        why = _why_not(plan, state, age, within)
        if not why:
            summary = f"run {state.id} brought the same commit and runbook to {source} {spell(age)} ago"
            evidence = {
                "run": state.id, "environment": source, "commit": state.started.commit, "digest": plan.runbook.digest,
            }  # fmt: skip
            return Outcome(summary, evidence=evidence)
        reason = f"run {state.id} in {source} {why}"
        if state.state == "succeeded":
            break
    hint = f"Run 'deployguard deploy --env {source}' with this commit and this runbook first."
    return Outcome(f"not promoted from {source}: {reason}", "fail", hint)


def _why_not(plan: Plan, state: "RunState", age: float, within: float) -> str:
    if state.state != "succeeded":
        return f"ended as {state.state}"
    if state.started.runbook_digest != plan.runbook.digest:
        return "was made with another version of the runbook"
    if state.started.commit != plan.commit:
        return f"brought another commit ({(state.started.commit or 'none')[:12]})"
    if state.accepted:
        return "went on with another plan than it began with"
    if state.started.settings.get("selection"):
        return "left out some of the steps"
    return f"is {spell(age)} old, more than {spell(within)}" if age > within else ""
