"""`backup.create`: a backup that was restored and compared before anything is changed."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from deployguard.backup.base import Product, Pulse
from deployguard.backup.destinations import Destination, destination
from deployguard.backup.find import Backup, read_backup
from deployguard.backup.products import product
from deployguard.backup.seal import operator_key
from deployguard.backup.take import Order, Store, Trial, forget, take
from deployguard.databases.url import DatabaseUrl, parse_url
from deployguard.errors import Damaged, Refused, StepFailed
from deployguard.runbook.quantities import Duration
from deployguard.secret import Secret
from deployguard.steps.base import JSON, Context, Outcome, Preview, Progress, Step, Target
from deployguard.steps.encryption import keys_needed

_SOON = 1.0
"""Seconds after which a rate means something."""


class BackupCreate(Step):
    """Take a backup of the environment's database and prove that it can be restored.

    Undo: the backup stays; what a killed try has left is removed. `rollback: { uses: backup.restore, when: requested }`
    puts it back when a person asks for that.
    """

    uses: ClassVar[str] = "backup.create"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    tidies: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("path", "id", "sha256", "state")
    example: ClassVar[str] = (
        "- id: backup\n  uses: backup.create\n  with: { verify: restore, plain_reason: the disk is encrypted }"
    )

    verify: Trial = "restore"
    """How far to try it: restore it into a scratch database and compare, read it back, or not at all."""
    recipients: tuple[str, ...] = ()
    """Public keys (age, ssh-ed25519) of who may open it: the operator's and one kept elsewhere, in escrow."""
    plain_reason: str = ""
    """Why the backup is not encrypted, in words, where there are no recipients; the report repeats them."""
    one_recipient_reason: str = ""
    """Why one recipient is enough, in words: if that key is lost, so is the backup."""
    expires: Duration = 30 * 86400.0
    """When the backup should be destroyed: it holds the data as it was before the change."""
    to: str = ""
    """Where backups are kept: a folder (a relative one begins at the runbook), or `s3://bucket/prefix`; by default
    deployguard's own folder. Credentials, region and endpoint are found as AWS's tools find them, `env:` first."""
    object_lock: Literal["", "governance", "compliance"] = ""
    """In S3: the mode in which a backup is locked until it expires, so that nobody can remove or replace it."""
    scratch_in: str = ""
    """Another server to restore the scratch copy on, of the same product and at least as new: a URL without a password,
    or the name of the declared secret that holds one. By default the database's own server."""
    deadline: Duration = Field(600.0, gt=0)
    """How long holding the database still may take."""

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if not self.recipients and not self.plain_reason.strip():
            raise ValueError("name two recipients:, or say in plain_reason: why the backup may be stored unencrypted")
        if self.recipients and self.plain_reason.strip():
            raise ValueError("recipients: and plain_reason: exclude each other")
        if len(set(self.recipients)) == 1 and not self.one_recipient_reason.strip():
            raise ValueError("name two recipients:, or say why one is enough in one_recipient_reason:")
        scheme, found, _ = self.to.partition("://")
        if found and scheme != "s3":
            raise ValueError(f"to: backups cannot be kept at {scheme}://; name a folder or s3://bucket/prefix")
        if self.object_lock and scheme != "s3":
            raise ValueError("object_lock: needs to: s3://bucket/prefix; a folder locks nothing")
        if self.scratch_in and self.verify != "restore":
            raise ValueError(f"scratch_in: is where a backup is restored, and verify: {self.verify} restores none")
        if "://" in self.scratch_in and ((url := urlsplit(self.scratch_in)).password or "password" in url.query):
            raise ValueError("scratch_in: holds a password; keep the URL in a secret, and name that")
        return self

    def preview(self, context: Context) -> Preview:
        """How much there is to copy."""
        database = context.target.connect(read_only=True)
        try:
            size = database.size()
        finally:
            database.close()
        self._trial(context.target).require_alike()
        return Preview(summary=f"back up {size / 2**20:.1f} MiB, verify: {self.verify}", bytes=size)

    def capture(self, context: Context) -> JSON:
        """Where the backup will be, so that its restore knows which one is meant."""
        there = self.destination(context.target, context.env)
        return {"backup": shown(there.where(self._name(context)), context.target.project)}

    def is_done(self, context: Context) -> bool | None:
        """Whether the backup of this run and step is there, under an unbroken seal."""
        try:
            return self._taken(context) is not None
        except StepFailed:  # its storage does not answer: executing says so, and may be tried again
            return None

    def execute(self, context: Context) -> Outcome:
        """Take it, unless an interrupted try had already finished it."""
        backup = self._taken(context) or take(
            product_of(context.target, self.deadline),
            store_of(context, self.destination(context.target, context.env), make=True),
            self.order(self._name(context), context.target, run=context.run, step=context.step),
            self._trial(context.target),
        )
        there = self._elsewhere(context.target)
        tried_on = {"tried_on": there.shown} if there else {}
        return Outcome(
            ", on ".join([_summary(backup), *tried_on.values()]),
            evidence={**evidence_of(backup, context.target.project), **tried_on},
            outputs=_outputs(backup, context.target.project),
        )

    def compensate(self, context: Context) -> Outcome | None:
        """Remove the scratch database and the draft of a try that was killed; a backup that is there stays."""
        name, there = self._name(context), self.destination(context.target, context.env)
        if name in there.names():
            return Outcome("the backup is finished, and stays")
        forget(self._trial(context.target), there.staging, name)
        return Outcome("what the unfinished backup has left is removed")

    def backs_up(self) -> bool:
        """Whether it is tried as far as that; an expression that has no value yet may say so."""
        return self.verify not in ("read", "none")  # not yet checked, it may be anything

    def order(self, id_: str, target: Target, *, run: str = "", step: str = "") -> Order:
        """The backup that these settings ask for."""
        return Order(
            id=id_, environment=target.environment, run=run, step=step, verify=self.verify, recipients=self.recipients,
            reason=self.plain_reason or self.one_recipient_reason, expires=self.expires, keys=keys_needed(target),
        )  # fmt: skip

    def destination(self, target: Target, env: Mapping[str, str | Secret]) -> Destination:
        """Where the backups are kept."""
        return destination_of(self.to, target, env, lock=self.object_lock)

    def _trial(self, target: Target) -> Product:
        """The database, with its copies where they are tried."""
        own, there = product_of(target, self.deadline), self._elsewhere(target)
        return own.elsewhere(there) if there else own

    def _elsewhere(self, target: Target) -> DatabaseUrl | None:
        """Where its copies are tried, unless that is its own server."""
        named = self.scratch_in
        return parse_url(named if "://" in named else target.secrets.get(named)) if named else None

    def _name(self, context: Context) -> str:
        return f"{context.run}-{context.step}"

    def _taken(self, context: Context) -> Backup | None:
        there, name = self.destination(context.target, context.env), self._name(context)
        if name not in there.names():
            return None
        try:
            backup = read_backup(there, name, operator_key(context.target.home.path, make=False))
        except (Damaged, Refused):
            return None
        mine = (context.run, context.step, context.target.environment)
        manifest = backup.manifest
        same = (manifest.run, manifest.step, manifest.environment) == mine
        return backup if same and manifest.reached(_WANTED[self.verify]) else None


_WANTED = {"restore": "restored", "read": "readable", "none": "written"}


def product_of(target: Target, deadline: float) -> Product:
    """How the environment's database is backed up and restored."""
    if target.database_url is None:
        raise Refused(f"the environment {target.environment} has no database", hint="Add database: in the runbook.")
    # not beside the database: that may be a working copy, which must stay clean
    return product(target.database_url, base=target.project, deadline=deadline, keep=target.home.backups)


def same_environment(backup: Backup, target: Target) -> None:
    """Refuse the backup of another environment: staging's data is not production's."""
    theirs = backup.manifest.environment
    if theirs != target.environment:
        raise Refused(
            f"the backup {backup.manifest.id} is of {theirs}, and this is {target.environment}",
            hint=f"Choose one of {target.environment}: 'deployguard backup list'.",
        )


def destination_of(to: str, target: Target, env: Mapping[str, str | Secret], *, lock: str = "") -> Destination:
    """The destination that a runbook names; what is on its way to another machine is made in our own folder."""
    return destination(to, base=target.project, staging=target.home.backups, env=env, lock=lock)


def store_of(context: Context, there: Destination, *, make: bool = False) -> Store:
    """Where backups are kept, under the project's key; its pulse is the step's safe point."""
    return Store(there, operator_key(context.target.home.path, make=make), context.target.clock, pulse_of(context))


def pulse_of(context: Context) -> Pulse:
    """The step's safe point, as the work on a backup calls it."""
    return metered(context.pulse)


def metered(show: Callable[[Progress], None]) -> Pulse:
    """A pulse that shows how far each phase is and at which rate; one that begins anew is timed anew."""
    phases: dict[str, tuple[float, int]] = {}

    def pulse(label: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        begun, before = phases.get(label, (now, 0))
        begun = now if done < before else begun
        phases[label] = (begun, done)
        rate = done / (now - begun) if now - begun > _SOON else None
        show(Progress(label, done, total, unit="bytes", rate=rate))

    return pulse


def evidence_of(backup: Backup, project: Path) -> JSON:
    """What the report, and scripts, are told of a backup."""
    manifest = backup.manifest
    return {
        "backup": manifest.id, "state": manifest.state, "path": shown(backup.where, project),
        "bytes": manifest.stored.bytes,
        "rows": manifest.rows, "manifest_sha256": backup.sha256, "encrypted": manifest.encrypted,
        "plaintext": not manifest.encrypted, "reason": manifest.reason, "recipients": list(manifest.recipients),
        "database": manifest.identity.database, "taken_at": manifest.taken_at, "expires": manifest.expires,
        "keys": list(manifest.keys) if manifest.keys is not None else None,
    }  # fmt: skip


def shown(where: str, project: Path) -> str:
    """A place as the journal names it: from the runbook's folder where it is inside it, so that that may be moved."""
    if "://" in where:
        return where
    path = Path(where).resolve()
    return str(path.relative_to(project.resolve()) if path.is_relative_to(project.resolve()) else where)


def _outputs(backup: Backup, project: Path) -> JSON:
    manifest = backup.manifest
    return {"path": shown(backup.where, project), "id": manifest.id, "sha256": backup.sha256, "state": manifest.state}


def _summary(backup: Backup) -> str:
    tried = {"restored": "restored once and compared", "readable": "read back", "written": "not tried"}
    rows = sum(backup.manifest.rows.values())
    size = backup.manifest.stored.bytes / 2**20
    return f"{rows:,} rows of {len(backup.manifest.rows)} tables in {size:.1f} MiB, {tried[backup.manifest.state]}"
