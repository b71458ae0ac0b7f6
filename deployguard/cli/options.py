"""Options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

RunbookFile = Annotated[
    Path, typer.Option("--runbook", "-f", help="The runbook.", envvar="DEPLOYGUARD_RUNBOOK", show_default=True)
]
EnvironmentName = Annotated[str, typer.Option("--env", "-e", help="The environment, as the runbook names it.")]
SomeEnvironment = Annotated[
    str | None,
    typer.Option(
        "--env", "-e", help="The environment; by default the only one, or that of the latest run.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout; progress goes to stderr.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: I have looked at the target.")]
Confirm = Annotated[
    list[str] | None,
    typer.Option(
        "--confirm",
        metavar="NAME",
        help="The name of a database that is replaced, where nobody can type it; once for each.",
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Take VALUE for vars.NAME (or commit=HASH); may be repeated.",
        show_default=False,
    ),
]
RUNBOOK = Path("runbook.yaml")
