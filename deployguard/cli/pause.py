"""`deployguard pause`: have a run hold still, and let it go on."""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile


def command(
    run: Annotated[str, typer.Argument(help="The run's id or its beginning.", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="The reason, for the record.")] = "",
    runbook: RunbookFile = RUNBOOK,
    *,
    end: Annotated[bool, typer.Option("--end", help="Let it go on.")] = False,
    json: Json = False,
) -> None:
    """Have a run hold still at its next safe point: between two batches of rows, or before its next step.

    It keeps the environment, holds no transaction open, and does not count the time against a step's timeout. A
    command that runs already is not stopped. Both are on record, with who and why.

    Example: deployguard pause production-20260102 --why "the shop is busy"
    """
    from deployguard.cli.console import Console
    from deployguard.cli.project import existing_journal, pick_run
    from deployguard.engine.deploy import UNFINISHED, who
    from deployguard.engine.pause import let_go, pause
    from deployguard.errors import UsageError
    from deployguard.journal.state import fold

    console = Console(as_json=json)
    with existing_journal(runbook) as (home, journal):
        state = pick_run(fold(journal.records()), run)
        if state.state not in {"running", *UNFINISHED}:
            ended = state.state.replace("_", " ")
            raise UsageError(f"run {state.id} has ended already: {ended}", hint="'deployguard runs' lists them all.")
        if end:
            let_go(home, state.id, who=who())
        else:
            pause(home, state.id, who=who(), why=why)
    if json:
        console.document({"run": state.id, "paused": not end})
    console.line(f"run {state.id} {'goes on' if end else 'holds still from its next safe point on'}")
    if not end:
        console.line(f"next         deployguard pause {state.id} --end")
