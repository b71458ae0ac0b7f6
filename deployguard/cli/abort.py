"""`deployguard abort`: leave a run as it is, so that another can begin."""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, Yes


def command(
    run: Annotated[str, typer.Argument(help="The run's id or its beginning.", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="The reason, for the record.")] = "",
    runbook: RunbookFile = RUNBOOK,
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """End a run that waits, failed or was interrupted, without going on with it and without undoing it.

    Exit code 0: nothing that it has done is in place. 5: something is, and is listed; 'deployguard rollback' undoes it.

    Example: deployguard abort production-20260102 --why "not this week"
    """
    from deployguard.cli.console import Console, run_json
    from deployguard.cli.project import existing_journal, pick_run
    from deployguard.cli.running import ask_person
    from deployguard.clock import SystemClock
    from deployguard.engine.abort import abort, require_unfinished
    from deployguard.engine.deploy import who
    from deployguard.errors import NeedsPerson
    from deployguard.journal.state import fold

    console = Console(as_json=json)
    with existing_journal(runbook) as (home, journal):
        state = pick_run(fold(journal.records()), run)
        require_unfinished(state)
        console.line(f"run {state.id} in {state.environment}: {state.state.replace('_', ' ')}")
        for step in state.in_place:
            console.status("in place", step, state.steps[step].summary)
        ask_person(console, f"End run {state.id} and leave what it has done?", yes=yes)
        state = abort(journal, home, state.id, actor=who(), why=why, now=SystemClock().now())
    if json:
        console.document({**run_json(state, []), "in_place": list(state.in_place)})
    console.line(f"run {state.id}: {state.reason}")
    if state.in_place:
        console.line(f"next         deployguard rollback {state.id}, if what is in place must go")
        raise typer.Exit(NeedsPerson.exit_code)
