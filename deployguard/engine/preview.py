"""Plan → what each step would do: the dry run. Nothing is changed, not even deployguard's own folder."""

from collections.abc import Iterator
from dataclasses import dataclass

from deployguard.engine.backed import backed
from deployguard.engine.plan import LATE, Plan, PlannedStep
from deployguard.engine.preflight import read_only_context
from deployguard.errors import DeployguardError
from deployguard.runbook.expressions import ExpressionError, names_in, render
from deployguard.steps.base import Preview, Target


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


def preview_steps(plan: Plan, target: Target) -> Iterator[StepPreview]:
    """Ask each step in order what it would do."""
    warnings = {planned.id: said.summary for planned, said in backed(plan, target)}
    for planned in plan.steps:
        yield StepPreview(planned, _preview(planned, plan, target), warnings.get(planned.id, ""))


def _preview(planned: PlannedStep, plan: Plan, target: Target) -> Preview:
    if not planned.selected:
        return Preview("not selected")
    text = planned.condition
    if text is not None:
        if any(name[0] in LATE for name in names_in(text)):
            return Preview("unknown", "its condition depends on the output of an earlier step")
        try:
            if not render(text, {**plan.names, "matrix": planned.matrix}):
                return Preview("condition false", planned.spec.condition or "")
        except ExpressionError as error:
            return Preview("unknown", str(error))
    if planned.is_late():
        return Preview("unknown", "depends on the output of an earlier step")
    try:
        return planned.step().preview(read_only_context(planned, plan, target))
    except DeployguardError as error:
        return Preview("unknown", target.masker.mask_text(error.message))
