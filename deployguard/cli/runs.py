"""`deployguard runs`: what has been run here?"""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, SomeEnvironment


def command(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    inspect: Annotated[bool, typer.Option("--inspect", help="Read what can be read of a damaged journal.")] = False,
    json: Json = False,
) -> None:
    """List the runs on record, newest last.

    Example: deployguard runs --env production
    """
    from deployguard.cli.console import Console, table
    from deployguard.cli.project import home_path, recorded_runs

    console = Console(as_json=json)
    if inspect:
        from deployguard.journal.sqlite import open_readable

        events = list(open_readable(home_path(runbook) / "journal.db"))
        if json:
            names = ("seq", "run", "at", "event", "trusted")
            console.document({"events": [dict(zip(names, e, strict=True)) for e in events]})
        for seq, run, at, kind, trusted in [] if json else events:
            console.line(f"{seq:>6}  {at}  {run}  {kind}{'' if trusted else '  NOT TRUSTED'}")
        return
    runs = [r for r in recorded_runs(runbook).values() if env in {None, r.environment}]
    if json:
        console.document(
            {
                "runs": [
                    {
                        "run": r.id,
                        "environment": r.environment,
                        "state": r.state,
                        "started": r.at,
                        "ended": r.ended,
                        "commit": r.started.commit,
                    }
                    for r in runs
                ]
            }
        )
        return
    for line in table(
        [[r.id, r.environment, r.state, r.at, r.ended or ""] for r in runs],
        ["run", "environment", "state", "started", "ended"],
    ):
        console.line(line)
