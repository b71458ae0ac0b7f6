"""`deployguard init`: a first runbook, from what is found."""

from pathlib import Path
from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile


def command(
    django: Annotated[
        Path | None,
        typer.Option("--django", metavar="DIR", help="The folder of manage.py; by default it is looked for."),
    ] = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    json: Json = False,
) -> None:
    """Write a runbook for this project, commented, from what is found in it. Nothing else is changed.

    Example: deployguard init
    """
    from deployguard.cli.console import Console
    from deployguard.cli.project import read_runbook
    from deployguard.errors import Refused
    from deployguard.starter.look import look
    from deployguard.starter.write import runbook_text

    console = Console(as_json=json)
    if runbook.exists():
        raise Refused(f"{runbook} is there already", hint="Move it away, or name another file with -f.")
    found = look(runbook.absolute().parent, django)
    draft = runbook.with_name(f"{runbook.name}.draft")
    try:
        draft.write_text(runbook_text(found), encoding="utf-8")
        loaded = read_runbook(draft, begins=True)
        draft.replace(runbook)
    except OSError as error:
        raise Refused(f"{runbook} cannot be written: {error.strerror}", hint="Give the right to write there.") from None
    finally:
        draft.unlink(missing_ok=True)
    if json:
        console.document(
            {
                "runbook": str(runbook), "manage": found.manage, "python": found.python if found.manage else None,
                "database_variable": found.settings.database(), "key_variables": found.settings.keys(),
                "columns": list(found.columns), "packages": list(found.packages), "migrations": found.apps,
                "remote": found.remote, "branch": found.branch, "notes": list(found.notes),
            }
        )  # fmt: skip
    facts = {
        "application": f"{found.manage}, {found.python}" if found.manage else "",
        "database": f"from {found.settings.database()}" if found.settings.database() else found.database,
        "key": f"from {found.settings.keys()[0]}" if found.settings.keys() else "",
        "encrypted": f"{len(found.columns)} columns ({', '.join(found.packages) or 'own fields'})"
        if found.columns
        else "",
        "migrations": ", ".join(f"{app} {name}" for app, name in found.apps.items()),
        "code": f"{found.branch} of {found.remote}" if found.remote else "",
    }
    for name, fact in facts.items():
        if fact:
            console.status("found", name, fact)
    for note in found.notes:
        console.status("look", "", note)
    console.line(f"{runbook}: {len(loaded.spec.preflight)} checks, {len(loaded.spec.steps)} steps")
    console.line("next         read it, then deployguard preflight --env staging")
