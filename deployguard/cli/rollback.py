"""`deployguard rollback`: back to where it was."""

from typing import Annotated, Literal

import typer

from deployguard.cli.options import RUNBOOK, Confirm, Json, RunbookFile, SomeEnvironment, Yes


def command(
    run: Annotated[
        str | None, typer.Argument(help="The run's id or its beginning; by default the latest.", show_default=False)
    ] = None,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    to: Annotated[str | None, typer.Option("--to", metavar="STEP", help="Keep this step and those before it.")] = None,
    via: Annotated[
        Literal["decrypt", "restore"] | None,
        typer.Option(
            help="Undo step by step, or restore the backup; by default step by step, as long as that can be done.",
            show_default=False,
        ),
    ] = None,
    confirm: Confirm = None,
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Undo a run, last step first, each undo on record.

    It says which of the two ways it recommends, and why. Restoring the backup loses what was written since: that is
    counted and shown, and the name of the database must be typed, or given as --confirm.

    Example: deployguard rollback --env production
    """
    from deployguard.cli.console import Console
    from deployguard.cli.running import back

    back(Console(as_json=json), runbook, run, env, to=to, via=via, yes=yes, confirm=confirm)
