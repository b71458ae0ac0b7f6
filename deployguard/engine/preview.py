"""Plan → what each step would do: the dry run. Nothing is changed, not even deployguard's own folder."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployguard.engine.backed import backed
from deployguard.engine.plan import Plan, PlannedStep
from deployguard.engine.preflight import read_only_context
from deployguard.engine.rehearsed import Measured, measured_before, of_item
from deployguard.errors import DeployguardError
from deployguard.runbook.expressions import ExpressionError
from deployguard.steps.base import Preview, Target, told

if TYPE_CHECKING:
    from deployguard.journal.state import RunState


@dataclass(frozen=True)
class StepPreview:
    """One step of a dry run. `preview.verdict` is one of four words, or `not selected`.

    would run · already done · condition false · unknown (the summary says why)
    """

    planned: PlannedStep
    preview: Preview
    warning: str = ""
    """What a person must know before they say yes; whether the step would be refused."""

    @property
    def undo(self) -> str | None:
        """Name of the kind that undoes the step; None where there is no undo."""
        if self.planned.rollback is not None:
            return self.planned.rollback.uses
        return self.planned.uses if self.planned.kind.model_construct().reversible() else None


def preview_steps(plan: Plan, target: Target, runs: "Iterable[RunState]" = ()) -> Iterator[StepPreview]:
    """Ask each step in order what it would do; what a rehearsal on record has measured takes the place of estimates."""
    measured = measured_before(plan, runs)
    warnings = {planned.id: said.summary for planned, said in backed(plan, target)}
    for planned in plan.steps:
        preview = _preview(planned, plan, target, of_item(measured, planned))
        yield StepPreview(planned, preview, warnings.get(planned.id, ""))


def _preview(planned: PlannedStep, plan: Plan, target: Target, measured: Mapping[str, Measured]) -> Preview:
    if not planned.selected:
        return Preview("not selected")
    try:
        holds = planned.holds(plan.names)
    except ExpressionError as error:
        return Preview("unknown", str(error))
    if holds is None:
        return Preview("unknown", "its condition depends on the output of an earlier step")
    if not holds:
        return Preview("condition false", planned.spec.condition or "")
    if planned.is_late():
        return Preview("unknown", "depends on the output of an earlier step")
    try:
        context = replace(read_only_context(planned, plan, target), measured=measured)
        return _as_measured(planned.step().preview(context), measured.get(planned.id))
    except DeployguardError as error:
        return Preview("unknown", target.masker.mask_text(error.message))


def _as_measured(preview: Preview, took: Measured | None) -> Preview:
    if took is None or preview.verdict == "already done" or took.get("growth") is None:
        return preview
    summary = "; ".join(filter(None, [preview.summary, f"measured on a copy: {told(took)}"]))
    return replace(preview, summary=summary, seconds=took["seconds"], bytes=took["growth"])
