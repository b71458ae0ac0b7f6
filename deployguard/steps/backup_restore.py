"""`backup.restore`: a backup in the database's place; what was there is kept."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from deployguard.backup.destinations import split
from deployguard.backup.find import read_backup
from deployguard.backup.layers import parse_identities
from deployguard.backup.restore import Ready, ready
from deployguard.errors import Refused
from deployguard.runbook.quantities import Duration
from deployguard.steps.backup_create import destination_of, product_of, same_environment, shown, store_of
from deployguard.steps.base import Context, Outcome, Step, Target


class BackupRestore(Step):
    """Put a backup in the place of the environment's database. Whatever was written since is lost, and counted.

    As `rollback:` of a `backup.create` it restores the backup which that step took.
    """

    uses: ClassVar[str] = "backup.restore"
    idempotent: ClassVar[bool] = True
    restores: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("kept",)
    example: ClassVar[str] = (
        "- id: backup\n  uses: backup.create\n  with: { plain_reason: the disk is encrypted }\n"
        "  rollback: { uses: backup.restore, when: requested }"
    )

    backup: str = Field("", alias="from")
    """The backup: its folder (a relative one begins at the runbook), or its `s3://…`, as its `path` output says."""
    identity: str = ""
    """Name of the declared secret that holds a recipient's private key, for an encrypted backup."""
    deadline: Duration = Field(60.0, gt=0)
    """How long to wait for whoever is using the database."""

    @contextmanager
    def made_ready(self, context: Context) -> Iterator[Ready]:
        """Restore beside, compare, count what would be lost."""
        target = context.target
        to, name = split(self._named(context))
        there = destination_of(to, target, context.env)
        store = store_of(context, there)
        identities = parse_identities(target.secrets.get(self.identity)) if self.identity else []
        backup = read_backup(there, name, store.key)
        same_environment(backup, target)
        with ready(product_of(target, self.deadline), backup, store, identities) as standing:
            yield standing

    def execute(self, context: Context) -> Outcome:
        """Swap in what was made ready, or make it ready now."""
        with nullcontext(context.ready) if context.ready else self.made_ready(context) as standing:
            return self._swapped(standing, context.target)

    def _swapped(self, standing: Ready, target: Target) -> Outcome:
        done, backup = standing.take_place(), standing.backup
        lost = {table: str(loss) for table, loss in done.loss.items()}
        kept = shown(done.kept, target.project) if Path(done.kept).is_absolute() else done.kept
        rows = sum(loss.added + loss.changed for loss in done.loss.values())
        return Outcome(
            f"{backup.manifest.id} is in place; rows written since, not in it: {rows:,}; the former database is {kept}",
            evidence={"path": shown(backup.where, target.project), "kept": kept, "lost": lost},
            outputs={"kept": kept},
        )

    def _named(self, context: Context) -> str:
        named = self.backup or str(context.before.get("backup", ""))
        if not named:
            raise Refused(
                f"step {context.step} does not say which backup to restore",
                hint="Add with: { from: … }, or make it the rollback: of a backup.create step.",
            )
        return named
