"""`deployguard check`: is the runbook valid?"""

from pathlib import Path
from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json


def command(runbook: Annotated[Path, typer.Argument(help="The runbook.")] = RUNBOOK, *, json: Json = False) -> None:
    """Validate a runbook: every error with file, line, column and a hint.

    Example: deployguard check runbook.yaml
    """
    from deployguard.cli.console import Console, problem_json
    from deployguard.cli.project import read_runbook
    from deployguard.errors import RunbookError

    console = Console(as_json=json)
    try:
        loaded = read_runbook(runbook, begins=True)
    except RunbookError as error:
        if not json:
            raise
        console.document({"ok": False, "checks": [problem_json(p) for p in error.problems]})
        raise typer.Exit(error.exit_code) from None
    spec = loaded.spec
    if json:
        summary = {
            "id": "runbook",
            "uses": "runbook",
            "status": "pass",
            "summary": spec.name,
            "hint": "",
            "file": str(runbook),
            "line": 1,
        }
        console.document({"ok": True, "digest": loaded.digest, "checks": [summary]})
    else:
        console.line(
            f"{runbook}: valid: {len(spec.preflight)} checks, {len(spec.steps)} steps, "
            f"environments {', '.join(spec.environments)}"
        )
        console.line(f"digest {loaded.digest}")
