"""`deployguard keys`: make, check and name field-encryption keys."""

import typer

from deployguard.cli.options import RUNBOOK, DryRun, Json, RunbookFile, SomeEnvironment, Yes

app = typer.Typer(help="Make, check, name and rotate field-encryption keys.", no_args_is_help=True)


@app.command()
def generate() -> None:
    """Print a new key, and nothing else, to stdout. Save it where it cannot be lost before using it.

    Example: deployguard keys generate > field.key
    """
    import sys

    from deployguard.keys.check import generate_key

    sys.stdout.write(generate_key().reveal() + "\n")
    print("Keep two copies in two places. Whoever has it reads the data; without it the data is lost.", file=sys.stderr)


@app.command()
def check(env: SomeEnvironment = None, runbook: RunbookFile = RUNBOOK, *, json: Json = False) -> None:
    """Check the form of an environment's keys; exit code 3 if one is not a good key.

    Example: deployguard keys check --env production
    """
    _each(env, runbook, as_json=json)


@app.command()
def fingerprint(env: SomeEnvironment = None, runbook: RunbookFile = RUNBOOK, *, json: Json = False) -> None:
    """Name an environment's keys by their fingerprints, which reveal nothing.

    Example: deployguard keys fingerprint --env production
    """
    _each(env, runbook, as_json=json)


@app.command()
def rotate(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring everything under the newest of the runbook's keys, as a run: journalled, resumable, with a report.

    The new key stands first in encryption: keys:, and the application is given all of them. Each
    row is brought under it and every token checked. The old key is taken away at the end only if
    no row, no backup that is kept and no other environment needs it; else 'keys retire' does it later.

    Example: deployguard keys rotate --env production
    """
    from deployguard.cli.by_hand import rotate_keys

    rotate_keys(runbook, env, dry_run=dry_run, yes=yes, as_json=json)


@app.command()
def retire(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take the old keys away; exit code 3 while a row, a backup that is kept or another environment needs one.

    Example: deployguard keys retire --env production
    """
    from deployguard.cli.by_hand import retire_keys

    retire_keys(runbook, env, dry_run=dry_run, yes=yes, as_json=json)


def _each(env: str | None, runbook: "RunbookFile", *, as_json: bool) -> None:
    from deployguard.cli.console import Console
    from deployguard.cli.project import plan_for, read_runbook, some_environment, target_for
    from deployguard.errors import DeployguardError, Refused
    from deployguard.keys.check import parse_key
    from deployguard.keys.fingerprint import fingerprint as name_of

    console = Console(as_json=as_json)
    loaded = read_runbook(runbook)
    plan = plan_for(loaded, some_environment(runbook, loaded, env))
    target = target_for(runbook, plan, make=False)
    found = []
    for name in target.keys:
        entry = {
            "id": name,
            "uses": "key.check",
            "status": "pass",
            "summary": "",
            "hint": "",
            "file": str(runbook),
            "line": 1,
        }
        try:
            entry["summary"] = f"{name_of(parse_key(target.secrets.get(name)))} ({target.secrets.place(name)})"
        except DeployguardError as error:
            entry |= {"status": "fail", "summary": error.message, "hint": error.hint}
        console.status(str(entry["status"]), name, str(entry["summary"]))
        console.hint(str(entry["hint"]))
        found.append(entry)
    ok = all(entry["status"] == "pass" for entry in found) and bool(found)
    if as_json:
        console.document({"ok": ok, "environment": plan.environment, "checks": found})
    if not ok:
        raise typer.Exit(Refused.exit_code)
