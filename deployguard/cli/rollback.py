"""`deployguard rollback`: back to where it was."""

from typing import Annotated, Literal

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, SomeEnvironment, Yes


def command(
    run: Annotated[
        str | None, typer.Argument(help="The run's id or its beginning; by default the latest.", show_default=False)
    ] = None,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    to: Annotated[str | None, typer.Option("--to", metavar="STEP", help="Keep this step and those before it.")] = None,
    via: Annotated[
        Literal["decrypt", "restore"], typer.Option(help="Undo step by step, or restore the backup.")
    ] = "decrypt",
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Undo a run, last step first, each undo on record.

    Example: deployguard rollback --env production
    """
    from deployguard.cli.console import Console
    from deployguard.cli.running import back

    back(Console(as_json=json), runbook, run, env, to=to, via=via, yes=yes)
