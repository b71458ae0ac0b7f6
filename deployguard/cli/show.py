"""`deployguard show`: what happened in a run?"""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, SomeEnvironment


def command(
    run: Annotated[
        str | None, typer.Argument(help="The run's id or its beginning; by default the latest.", show_default=False)
    ] = None,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    json: Json = False,
) -> None:
    """Show a run: its state, its steps, what it waits for.

    Example: deployguard show
    """
    from deployguard.cli.console import Console, run_json
    from deployguard.cli.project import pick_run, recorded_runs

    console = Console(as_json=json)
    state = pick_run(recorded_runs(runbook), run, env)
    if json:
        console.document(run_json(state, []))
        return
    console.line(
        f"run {state.id} in {state.environment}: {state.state}" + (f": {state.reason}" if state.reason else "")
    )
    console.line(f"  started      {state.at} by {state.started.actor} on {state.started.host}")
    if state.ended:
        console.line(f"  ended        {state.ended}")
    for check in state.checks:
        console.status(check.status, check.check, check.summary)
    for step in state.steps.values():
        console.status(step.state, step.id, step.summary, seconds=step.seconds)
