"""`deployguard watch`: go on watching, by a timer or by hand."""

from typing import TYPE_CHECKING, Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, SomeEnvironment

if TYPE_CHECKING:
    from deployguard.journal.state import RunState


def command(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once and end; for a timer or cron.")] = False,
    json: Json = False,
) -> None:
    """Go on with a run that stands in a monitor step; do nothing where none does.

    Exit code 0: watched to the end, or nothing to watch. 4: more to watch, come again.
    1 or 5: a condition was breached, and the run was rolled back or needs a person.

    Example: deployguard watch --once --env production
    """
    from deployguard.cli.console import Console
    from deployguard.cli.project import recorded_runs
    from deployguard.cli.running import go_on
    from deployguard.errors import UsageError

    console = Console(as_json=json)
    watching = {run.environment for run in recorded_runs(runbook).values() if _stands_in_a_monitor(run)}
    chosen = sorted(watching if env is None else watching & {env})
    if len(chosen) > 1:
        raise UsageError(f"several environments have a run that watches: {', '.join(chosen)}", hint="Add --env.")
    if chosen:
        go_on(console, runbook, chosen[0], None, [], why="", accept=False, once=once)
        return
    if json:
        console.document({"run": None, "state": None, "waiting_for": []})
    console.line("nothing to watch")


def _stands_in_a_monitor(run: "RunState") -> bool:
    from deployguard.engine.deploy import UNFINISHED

    begun = [s for s in run.steps.values() if s.state in {"waiting", "interrupted", "running"}]
    return bool(begun) and begun[-1].uses == "monitor" and run.state in UNFINISHED and run.rolling_back is None
