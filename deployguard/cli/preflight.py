"""`deployguard preflight`: may we start?"""

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, Settings, SomeEnvironment


def command(
    env: SomeEnvironment = None, runbook: RunbookFile = RUNBOOK, set_: Settings = None, *, json: Json = False
) -> None:
    """Run every check and change nothing; exit code 3 if one fails.

    Example: deployguard preflight --env staging
    """
    from deployguard.cli.console import Console
    from deployguard.cli.project import plan_for, read_runbook, recorded_runs, some_environment, target_for
    from deployguard.engine.preflight import run_checks
    from deployguard.errors import Refused

    console = Console(as_json=json)
    loaded = read_runbook(runbook, begins=True)
    plan = plan_for(loaded, some_environment(runbook, loaded, env), set_)
    target = target_for(runbook, plan, make=False)
    console.line(f"preflight: {loaded.spec.name} → {plan.environment}")
    verdicts = []
    for verdict in run_checks(plan, target, recorded_runs(runbook).values(), console.progress):
        console.status(verdict.status, verdict.id, verdict.summary, seconds=verdict.seconds)
        console.hint(verdict.hint)
        verdicts.append(verdict)
    failed = [v for v in verdicts if v.status == "fail"]
    console.line(f"{len(verdicts) - len(failed)} of {len(verdicts)} checks passed; nothing was changed")
    if json:
        console.document(
            {
                "ok": not failed, "environment": plan.environment,
                "checks": [{**vars(v), "file": str(runbook)} for v in verdicts],
            }
        )  # fmt: skip
    if failed:
        raise typer.Exit(Refused.exit_code)
