"""`deployguard data`: what do the encrypted columns hold?"""

from typing import TYPE_CHECKING, Annotated

import typer

from deployguard.cli.options import RUNBOOK, DryRun, Json, RunbookFile, SomeEnvironment, Yes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

app = typer.Typer(help="Look at what the encrypted columns hold, never showing any of it.", no_args_is_help=True)

Keys = Annotated[int, typer.Option("--keys", help="How many primary keys of bad rows to name for each column.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="For a trial: rows of each table to change at most.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION",
        help="For a trial: 'TABLE.KEY <= 1000'; may be repeated, all must hold. Other tables are left alone.",
    ),
]  # fmt: skip
WithoutBackup = Annotated[
    str,
    typer.Option(
        "--without-backup", metavar="WHY",
        help="Begin without the runbook's backup, and say why: it stands at the top of the report.",
    ),
]  # fmt: skip
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes; by default one for each core that may be used.")
]
FullSpeed = Annotated[
    bool, typer.Option("--full-speed", help="Do not step back while others write to the database; they will wait.")
]


@app.command()
def scan(env: SomeEnvironment = None, runbook: RunbookFile = RUNBOOK, keys: Keys = 5, *, json: Json = False) -> None:
    """Count every value by class: null, empty, plaintext, primary, older, unknown, nested.

    Example: deployguard data scan --env production
    """
    _look(runbook, env, keys, as_json=json, judge=False)


@app.command()
def verify(env: SomeEnvironment = None, runbook: RunbookFile = RUNBOOK, keys: Keys = 5, *, json: Json = False) -> None:
    """Check that every value is a token that a known key opens; exit code 3 if one is not.

    Example: deployguard data verify --env production
    """
    _look(runbook, env, keys, as_json=json, judge=True)


@app.command()
def encrypt(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    limit: Limit = None,
    where: Where = None,
    workers: Workers = None,
    without_backup: WithoutBackup = "",
    *,
    full_speed: FullSpeed = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Encrypt every row that is plaintext still, as a run of its own: journalled, resumable, with a report.

    Example: deployguard data encrypt --env production
    """
    how = _how(limit, where, workers, full_speed=full_speed) | {"without_backup": without_backup}
    _rewrite(runbook, env, "encrypt", how, dry_run=dry_run, yes=yes, as_json=json)


@app.command()
def decrypt(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    limit: Limit = None,
    where: Where = None,
    workers: Workers = None,
    without_backup: WithoutBackup = "",
    *,
    full_speed: FullSpeed = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Decrypt every row, as a run of its own: for leaving encryption behind.

    Example: deployguard data decrypt --env production
    """
    how = _how(limit, where, workers, full_speed=full_speed) | {"without_backup": without_backup}
    _rewrite(runbook, env, "decrypt", how, dry_run=dry_run, yes=yes, as_json=json)


@app.command()
def rotate(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    limit: Limit = None,
    where: Where = None,
    workers: Workers = None,
    *,
    full_speed: FullSpeed = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring every token under the newest key, as a run of its own.

    Example: deployguard data rotate --env production
    """
    how = _how(limit, where, workers, full_speed=full_speed)
    _rewrite(runbook, env, "rotate", how, dry_run=dry_run, yes=yes, as_json=json)


@app.command()
def scrub(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    look: Annotated[bool, typer.Option("--look", help="Only look at the files; write nothing anew.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Clean what encrypting left in free pages and logs, and look whether former values still stand in files.

    Example: deployguard data scrub --env production
    """
    _rewrite(runbook, env, "scrub", {"rewrite": False if look else None}, dry_run=dry_run, yes=yes, as_json=json)


def _how(limit: int | None, where: list[str] | None, workers: int | None, *, full_speed: bool) -> dict[str, object]:
    return {"limit": limit, "where": where, "workers": workers, "others_first": False if full_speed else None}


def _rewrite(
    file: "Path",
    env: str | None,
    verb: str,
    how: "Mapping[str, object]",
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from deployguard.cli.by_hand import run_by_hand

    said = {key: value for key, value in how.items() if value not in (None, [], "")}
    run_by_hand(file, env, verb, said, dry_run=dry_run, yes=yes, as_json=as_json)


def _look(runbook: "Path", env: str | None, keys: int, *, as_json: bool, judge: bool) -> None:
    from contextlib import closing

    from deployguard.cli.console import Console, table
    from deployguard.cli.project import plan_for, read_runbook, some_environment, target_for
    from deployguard.errors import Refused
    from deployguard.rows.sealers import sealing
    from deployguard.rows.verify import verify as verify_rows
    from deployguard.steps.base import Progress
    from deployguard.steps.column_keys import means_of
    from deployguard.steps.encryption import team

    console = Console(as_json=as_json)
    loaded = read_runbook(runbook)
    plan = plan_for(loaded, some_environment(runbook, loaded, env))
    target = target_for(runbook, plan, make=False)
    columns = target.discover().fields
    if not columns:
        raise Refused(
            f"the application in {target.directory} encrypts no column",
            hint="Deploy the code that encrypts first; 'deployguard plan' shows what would be done.",
        )
    means = means_of(target, columns)
    with (
        closing(target.connect(read_only=True)) as database,
        sealing(means.keys, means.beside) as sealers,
        team(target, database, sealers, means, read_only=True) as crew,
    ):
        found = verify_rows(
            database, columns, sealers, keys=keys, crew=crew,
            pulse=lambda p: console.progress("rows", Progress(p.label, p.done, p.total, rate=p.rate)),
        )  # fmt: skip
    head = ["table", "column", "rows", "null", "empty", "plaintext", "primary", "older", "unknown", "nested"]
    ok = found.ok if judge else True
    for line in table([[getattr(c, h) for h in head] for c in found.columns], head):
        console.line(line)
    for problem in found.problems:
        console.status("fail" if judge else "warn", f"{problem.table}.{problem.column}", problem.describe())
    if as_json:
        console.document(
            {
                "ok": ok, "environment": plan.environment,
                "columns": [{h: getattr(c, h) for h in head} for c in found.columns],
                "problems": [vars(p) for p in found.problems],
            }
        )  # fmt: skip
    elif judge:
        console.line("every value is encrypted" if ok else "not every value is encrypted")
    if not ok:
        raise typer.Exit(Refused.exit_code)
