"""`deployguard deploy`: carry it out."""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, DryRun, Json, RunbookFile, Settings, SomeEnvironment, Yes


def command(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    set_: Settings = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="STEP", help="Run only this step; may be repeated.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="STEP", help="Leave this step out; may be repeated.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="STEP", help="Begin at this step.")] = None,
    decide: Annotated[
        list[str] | None,
        typer.Option(
            "--decide", metavar="STEP=done|retry|skip", help="With --resume: answer for a step that was interrupted."
        ),
    ] = None,
    why: Annotated[
        str, typer.Option("--why", help="The reason for a decision, or for leaving out a gate, for the record.")
    ] = "",
    *,
    dry_run: DryRun = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run of the environment.")] = False,
    accept_plan: Annotated[
        bool, typer.Option("--accept-plan", help="With --resume: go on although the plan has changed.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Carry out the runbook in an environment, step by step, on record.

    Example: deployguard deploy --env staging
    """
    from deployguard.cli.console import Console
    from deployguard.cli.running import begin, go_on
    from deployguard.engine.plan import Selection

    console = Console(as_json=json)
    selection = Selection(tuple(only or ()), tuple(skip or ()), first, why)
    if resume:
        go_on(console, runbook, env, set_, decide or [], why=why, accept=accept_plan)
    else:
        begin(console, runbook, env, set_, selection, dry_run=dry_run, yes=yes)
