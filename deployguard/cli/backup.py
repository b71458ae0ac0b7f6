"""`deployguard backup`: take, try, restore, list and destroy backups."""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Confirm, Json, RunbookFile, SomeEnvironment, Yes

app = typer.Typer(help="Take backups that count only once they have been restored.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The backup's name, or the beginning of it.", show_default=False)]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", help="Public key (age1…, ssh-ed25519 …) of who may open it.", show_default=False),
]
Reason = Annotated[
    str, typer.Option("--reason", help="Why one recipient, or none, is enough, in words.", show_default=False)
]
Private = Annotated[
    str, typer.Option("--identity", metavar="FILE", help="Private key of a recipient.", show_default=False)
]
Before = Annotated[
    str | None,
    typer.Option("--plaintext-before", metavar="RUN", help="Destroy what was taken before this run ended."),
]


@app.command()
def create(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    recipient: Recipients = None,
    reason: Reason = "",
    *,
    json: Json = False,
) -> None:
    """Take a backup, restore it into a scratch database, and compare; a run of its own, on record.

    Without --recipient and --reason it is taken as the runbook's own backup.create step says.

    Example: deployguard backup create --env production
    """
    from deployguard.cli.backing import sit_down
    from deployguard.cli.by_hand import derive
    from deployguard.cli.running import stand_aside

    desk = sit_down(runbook, env, as_json=json)
    step = desk.step_to_create(recipient or [], reason)
    derived = derive(desk.runbook, "backup-by-hand", "Take a backup, by hand", [step], aside=True)
    state = stand_aside(desk.console, derived, runbook, desk.target.environment)
    desk.show({**state.steps["backup"].evidence, "run": state.id})


@app.command()
def verify(
    name: Name,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    identity: Private = "",
    *,
    json: Json = False,
) -> None:
    """Read a backup to its last byte, restore it into a scratch database, and compare.

    Without a private key an encrypted one can only be read.

    Example: deployguard backup verify production-20260101
    """
    from deployguard.backup.restore import beside
    from deployguard.backup.stored import check
    from deployguard.cli.backing import identities_in, sit_down
    from deployguard.steps.backup_create import product_of

    desk = sit_down(runbook, env, as_json=json)
    store, backup = desk.find(name)
    if backup.manifest.encrypted and not identity:
        with backup.files(store.pulse) as files:
            check(files, store.pulse)
        desk.console.line("its bytes are those that were written; with --identity it is restored too")
    else:
        with beside(product_of(desk.target, 600.0), backup, store, identities_in(identity)):
            desk.console.line("restored into a scratch database: schema, rows and values are those that were taken")
    desk.show(desk.document(backup))


@app.command()
def restore(
    name: Name,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    identity: Private = "",
    confirm: Confirm = None,
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put a backup in the database's place; the former database is kept under a dated name.

    What would be lost is counted and shown first; if that is anything, the name of the database must be typed, or
    given as --confirm.

    Example: deployguard backup restore production-20260101 --env production
    """
    from deployguard.backup.restore import ready
    from deployguard.cli.agreement import agree
    from deployguard.cli.backing import identities_in, sit_down
    from deployguard.cli.by_hand import derive
    from deployguard.cli.running import stand_aside
    from deployguard.steps.backup_create import product_of, same_environment
    from deployguard.steps.backup_restore import BackupRestore

    desk = sit_down(runbook, env, as_json=json)
    store, backup = desk.find(name)
    same_environment(backup, desk.target)
    step = {"id": "restore", "uses": BackupRestore.uses, "with": {"from": desk.document(backup)["path"]}}
    derived = derive(
        desk.runbook, "restore-by-hand", "Put a backup in the database's place, by hand", [step], aside=True
    )
    with ready(product_of(desk.target, 60.0), backup, store, identities_in(identity)) as standing:
        agree(desk.console, standing, yes=yes, confirm=confirm)
        state = stand_aside(desk.console, derived, runbook, desk.target.environment, {"restore": standing})
    lost = {table: vars(loss) for table, loss in sorted(standing.loss.items())}
    kept = state.steps["restore"].outputs["kept"]
    desk.console.line(f"restored; the former database is {kept}")
    desk.end({**desk.document(backup), "run": state.id, "kept": kept, "lost": lost})


@app.command(name="list")
def list_(env: SomeEnvironment = None, runbook: RunbookFile = RUNBOOK, *, json: Json = False) -> None:
    """List the backups: how far each was tried, who can read it, and when it should be destroyed.

    Example: deployguard backup list
    """
    from deployguard.cli.backing import sit_down
    from deployguard.errors import Damaged

    desk = sit_down(runbook, env, as_json=json, make=False)
    good, bad = desk.every()
    found = [b.manifest for b in good]
    desk.table(
        [
            [m.id, m.state, m.taken_at, m.stored.bytes >> 20, "yes" if m.encrypted else "no", m.expires]
            for m in found
        ],
        ["backup", "state", "taken", "MiB", "encrypted", "expires"],
    )  # fmt: skip
    for error in bad:
        desk.console.status("fail", "damaged", error.message)
    desk.end({"backups": [desk.document(b) for b in good], "damaged": [e.message for e in bad]})
    if bad:
        raise typer.Exit(Damaged.exit_code)


@app.command()
def prune(
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    plaintext_before: Before = None,
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Destroy backups that have expired, or that hold what a run has encrypted since; the plan is shown first.

    The last one that has been restored, and those of unfinished runs, stay. What is destroyed is on record, as a run.

    Example: deployguard backup prune --plaintext-before 20260101
    """
    from deployguard.backup.retention import fates
    from deployguard.backup.take import stamp
    from deployguard.cli.backing import sit_down
    from deployguard.cli.by_hand import derive
    from deployguard.cli.console import Console
    from deployguard.cli.project import pick_run, recorded_runs
    from deployguard.cli.running import stand_aside
    from deployguard.engine.deploy import UNFINISHED
    from deployguard.errors import Refused, UsageError

    Console(as_json=json)  # what is wrong with the run that is named is said there too
    runs = recorded_runs(runbook)
    run = pick_run(runs, plaintext_before) if plaintext_before else None
    desk = sit_down(runbook, env or (run.environment if run else None), as_json=json)
    environment, now = desk.target.environment, desk.target.clock.now()
    if run is not None and run.environment != environment:
        raise UsageError(f"run {run.id} was in {run.environment}, not in {environment}", hint="Leave out --env.")
    if run is not None and run.ended is None:
        raise Refused(f"run {run.id} has not ended", hint="It may still need its backup: end the run first.")
    mine = [b for b in desk.every()[0] if b.manifest.environment == environment]
    unfinished = {r.id for r in runs.values() if r.state in UNFINISHED and not r.aside}
    decided = fates(mine, now=stamp(now), unfinished=unfinished, plaintext_before=run.ended if run else None)
    for fate in decided:
        desk.console.status("destroy" if fate.destroy else "keep", fate.backup.manifest.id, fate.why)
    doomed = {desk.document(fate.backup)["path"]: fate.why for fate in decided if fate.destroy}
    for where in desk.unfinished(now):
        desk.console.status("destroy", where, "begun and never finished")
        doomed[where] = "begun and never finished"
    kept = [{**desk.document(f.backup), "why": f.why} for f in decided if not f.destroy]
    if not doomed:
        desk.end({"run": None, "destroyed": [], "kept": kept})
        return
    if not desk.console.confirm(f"Destroy {len(doomed)} for good?", yes=yes):
        raise Refused("nobody said yes", hint="Add --yes where no terminal can be asked; nothing was destroyed.")
    step = {"id": "destroy", "uses": "backup.destroy", "with": {"backups": doomed}, **desk.given}
    derived = derive(desk.runbook, "prune-by-hand", "Destroy backups that have had their time", [step], aside=True)
    state = stand_aside(desk.console, derived, runbook, environment)
    desk.end({"run": state.id, "destroyed": state.steps["destroy"].evidence["destroyed"], "kept": kept})
