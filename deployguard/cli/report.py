"""`deployguard report`: the proof, from the journal alone."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, SomeEnvironment


class Format(StrEnum):
    """What a report is written as."""

    MD = "md"
    HTML = "html"


def command(
    run: Annotated[
        str | None, typer.Argument(help="The run's id or its beginning; by default the latest.", show_default=False)
    ] = None,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="md or html; may be repeated.", show_default="md"),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Write files there instead of printing.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Print or write the report of a run, made from the journal alone.

    Example: deployguard report --format html --to reports/
    """
    from deployguard.cli.console import Console, run_json
    from deployguard.cli.project import existing_journal, pick_run
    from deployguard.journal.state import fold
    from deployguard.report.build import build
    from deployguard.report.render import render_html, render_markdown, write_reports

    console = Console(as_json=json)
    with existing_journal(runbook) as (_, journal):
        records = list(journal.records())
    state = pick_run(fold(records), run, env)
    report = build(records, state.id)
    if to is not None:
        paths = write_reports(report, to, [f.value for f in formats or [Format.MD]])
        if json:
            console.document(run_json(state, paths))
        for path in [] if json else paths:
            console.line(str(path))
    elif json:
        console.document(run_json(state, []))
    else:
        for name in [f.value for f in formats or [Format.MD]]:
            typer.echo(render_html(report) if name == "html" else render_markdown(report))
