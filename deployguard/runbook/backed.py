"""Steps that may only begin once a backup was restored: what can be said of them without an environment."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from deployguard.errors import Problem
from deployguard.runbook.expressions import has_expression
from deployguard.runbook.lines import Document
from deployguard.runbook.spec import Runbook, StepSpec

WHAT_TO_DO = (
    "Put a step uses: backup.create with verify: restore above it, on the same database, "
    "or say in its with: { without_backup: … } why it may begin without one."
)


def reason_in(values: Mapping[str, Any]) -> str:
    """Why a step may begin without a backup, as its `with:` says; empty where it does not."""
    return str(values.get("without_backup") or "").strip()


def backup_problems(document: Document, spec: Runbook, kinds: Mapping[str, type[BaseModel]]) -> Iterator[Problem]:
    """Steps that need a backup and have none above them that could be of their database.

    Where an expression names the database, the checks before a run compare the URLs themselves.
    """
    before: list[StepSpec] = []
    for index, step in enumerate(spec.steps):
        kind = kinds.get(step.uses or "")
        if kind is None:
            continue
        alone = not any(_may_be_one(step.database, each.database) for each in before)
        if getattr(kind, "needs_backup", False) and alone and not reason_in(step.with_):
            message = f"step {step.id} rewrites rows, and no step above it takes a backup that is restored"
            yield document.problem(message, ("steps", index, "uses"), WHAT_TO_DO)
        backs_up = getattr(kind.model_construct(**step.with_), "backs_up", None)
        if backs_up is not None and backs_up():
            before.append(step)


def _may_be_one(one: str | None, other: str | None) -> bool:
    return one == other or has_expression(one) or has_expression(other)
