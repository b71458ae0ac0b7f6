"""`deployguard plan`: what would a deploy do?"""

from typing import TYPE_CHECKING, Any

from deployguard.cli.options import RUNBOOK, EnvironmentName, Json, RunbookFile, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployguard.cli.console import Console
    from deployguard.engine.plan import Plan
    from deployguard.journal.state import RunState
    from deployguard.steps.base import Target


def command(env: EnvironmentName, runbook: RunbookFile = RUNBOOK, set_: Settings = None, *, json: Json = False) -> None:
    """Show what deploy would do: steps, commands, rows, bytes, time. Changes nothing.

    Example: deployguard plan --env staging
    """
    from deployguard.cli.console import Console
    from deployguard.cli.project import plan_for, read_runbook, recorded_runs, target_for

    console = Console(as_json=json)
    plan = plan_for(read_runbook(runbook, begins=True), env, set_)
    show_plan(console, plan, target_for(runbook, plan, make=False), recorded_runs(runbook).values())


def show_plan(console: "Console", plan: "Plan", target: "Target", runs: "Iterable[RunState]") -> None:
    """The dry run, for people or as the JSON document; `runs` may hold a rehearsal."""
    from deployguard.engine.identity import identity
    from deployguard.engine.preview import preview_steps

    found = identity(target)
    console.line(f"plan {plan.digest[:12]}: {plan.runbook.spec.name} → {plan.environment}")
    if found is not None:
        console.line(f"  target       {found.engine} {found.version}, {found.database} on {found.host}")
    if plan.commit:
        console.line(f"  commit       {plan.commit}")
    steps: list[dict[str, Any]] = []
    for item in preview_steps(plan, target, runs):
        preview = item.preview
        if item.warning:
            console.status("warn", item.planned.id, item.warning)
        console.status(preview.verdict, item.planned.id, preview.summary)
        for line in preview.commands:
            console.line(f"  {'':<12} {'':<22} $ {line}")
        steps.append(
            {
                "id": item.planned.id, "uses": item.planned.uses, "verdict": preview.verdict,
                "summary": preview.summary, "warning": item.warning,
                "commands": list(preview.commands), "rows": preview.rows, "bytes": preview.bytes,
                "seconds": preview.seconds, "rollback": item.undo, "evidence": preview.evidence,
            }
        )  # fmt: skip
    console.line("nothing was changed")
    if console.as_json:
        console.document(
            {
                "digest": plan.digest, "environment": plan.environment, "target": vars(found) if found else None,
                "commit": plan.commit, "steps": steps,
            }
        )  # fmt: skip
