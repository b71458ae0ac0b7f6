"""`deployguard backup`: take, try, restore, list and destroy backups."""

from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, SomeEnvironment, Yes

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
    """Take a backup, restore it into a scratch database, and compare.

    Without --recipient and --reason it is taken as the runbook's own backup.create step says.

    Example: deployguard backup create --env production
    """
    from deployguard.backup.take import take
    from deployguard.cli.backing import settings_of, sit_down
    from deployguard.steps.backup_create import product_of

    desk = sit_down(runbook, env, as_json=json)
    target = desk.target
    named = settings_of(recipient or [], reason) if recipient or reason else desk.step
    step = named or settings_of([], "")
    name = f"{target.environment}-{target.clock.now():%Y%m%dT%H%M%S%f}"
    store = desk.store(step.destination(target, desk.env), make=True)
    desk.show(take(product_of(target, step.deadline), store, step.order(name, target.environment)))


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
    desk.show(backup)


@app.command()
def restore(
    name: Name,
    env: SomeEnvironment = None,
    runbook: RunbookFile = RUNBOOK,
    identity: Private = "",
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put a backup in the database's place; the former database is kept under a dated name.

    Example: deployguard backup restore production-20260101 --env production
    """
    from deployguard.backup.restore import beside, put_in_place
    from deployguard.cli.backing import identities_in, sit_down
    from deployguard.errors import Refused
    from deployguard.journal.lock import EnvironmentLock, about_me
    from deployguard.steps.backup_create import product_of, same_environment

    desk = sit_down(runbook, env, as_json=json)
    console, target = desk.console, desk.target
    store, backup = desk.find(name)
    same_environment(backup, target)
    product, taken = product_of(target, 60.0), backup.manifest.taken_at
    about = about_me("backup restore", target.clock.now())
    lock = EnvironmentLock(target.home.locks, target.environment, about=about)
    try:
        with beside(product, backup, store, identities_in(identity)) as copy:
            it, loss = product.identity(), copy.loss()
            console.line(f"{it.engine} {it.version}, database {it.database}, host {it.host}")
            console.line(f"restoring {backup.manifest.id}, taken {taken}, loses:")
            rows = [[table, lost.added, lost.changed, lost.removed] for table, lost in sorted(loss.items())]
            desk.table(rows, ["table", "added", "changed", "removed"])
            if not console.confirm(f"Restore {target.environment} to {taken}?", yes=yes):
                raise Refused("nobody said yes", hint="Add --yes where no terminal can be asked; nothing was changed.")
            kept = put_in_place(product, backup, copy, store)
    finally:
        lock.close()
    console.line(f"restored; the former database is {kept}")
    desk.end({**desk.document(backup), "kept": kept, "lost": {t: vars(x) for t, x in sorted(loss.items())}})


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

    The last one that has been restored, and those of unfinished runs, stay.

    Example: deployguard backup prune --plaintext-before 20260101
    """
    from deployguard.backup.retention import fates
    from deployguard.backup.take import stamp
    from deployguard.cli.backing import sit_down
    from deployguard.cli.project import pick_run, recorded_runs
    from deployguard.engine.deploy import UNFINISHED
    from deployguard.errors import Refused

    desk = sit_down(runbook, env, as_json=json)
    runs = recorded_runs(runbook)
    run = pick_run(runs, plaintext_before) if plaintext_before else None
    if run is not None and run.ended is None:
        raise Refused(f"run {run.id} has not ended", hint="It may still need its backup: end the run first.")
    mine = [b for b in desk.every()[0] if run is None or b.manifest.environment == run.environment]
    unfinished = {r.id for r in runs.values() if r.state in UNFINISHED}
    decided = fates(
        mine, now=stamp(desk.target.clock.now()), unfinished=unfinished, plaintext_before=run.ended if run else None
    )
    for fate in decided:
        desk.console.status("destroy" if fate.destroy else "keep", fate.backup.manifest.id, fate.why)
    doomed = [fate.backup for fate in decided if fate.destroy]
    if doomed and not desk.console.confirm(f"Destroy {len(doomed)} of {len(decided)} backups?", yes=yes):
        raise Refused("nobody said yes", hint="Add --yes where no terminal can be asked; nothing was destroyed.")
    for backup in doomed:
        backup.destination.remove(backup.manifest.id)
    kept = [{**desk.document(f.backup), "why": f.why} for f in decided if not f.destroy]
    desk.end({"destroyed": [desk.document(b) for b in doomed], "kept": kept})
