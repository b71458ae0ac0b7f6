"""What the backup commands share: the environment, where its backups are, and how one is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deployguard.backup.destinations import Destination
from deployguard.backup.find import Backup, backups, read_backup
from deployguard.backup.layers import Identity, parse_identities
from deployguard.backup.seal import operator_key
from deployguard.backup.take import Store
from deployguard.cli.console import Console, table
from deployguard.cli.project import plan_for, read_runbook, some_environment, target_for
from deployguard.engine.preflight import read_only_context
from deployguard.errors import Damaged, UsageError
from deployguard.runbook.load import LoadedRunbook
from deployguard.secret import Secret
from deployguard.steps.backup_create import BackupCreate, destination_of, evidence_of, metered, shown
from deployguard.steps.base import Target


@dataclass(frozen=True)
class Desk:
    """One command at work.

    Attributes:
        step: how the runbook has this environment's database backed up; None where it does not.
        env: that step's variables.
        written: the step as the runbook has it.
    """

    console: Console
    runbook: LoadedRunbook
    target: Target
    step: BackupCreate | None = None
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)

    def store(self, there: Destination, *, make: bool = False) -> Store:
        """Where backups are, under the project's key."""
        pulse = metered(lambda progress: self.console.progress("backup", progress))
        return Store(there, operator_key(self.target.home.path, make=make), self.target.clock, pulse)

    def destinations(self) -> list[Destination]:
        """Where backups may be: in our own folder, and where the runbook has them kept."""
        ours = destination_of("", self.target, {})
        theirs = self.step.destination(self.target, self.env) if self.step else ours
        return [ours] if theirs == ours else [ours, theirs]

    def find(self, name: str) -> tuple[Store, Backup]:
        """The backup whose name begins so.

        Raises:
            UsageError: there is not exactly one.
            Damaged: it is not what was once written.
        """
        found = [(n, there) for there in self.destinations() for n in there.names() if n.startswith(name)]
        found = [(n, there) for n, there in found if n == name] or found
        if len(found) != 1:
            what = "several backups begin" if found else "no backup begins"
            raise UsageError(f"{what} with {name!r}", hint="'deployguard backup list' shows them.")
        ((whole, there),) = found
        store = self.store(there)
        return store, read_backup(there, whole, store.key)

    def every(self) -> tuple[list[Backup], list[Damaged]]:
        """All backups, and an error for each that is none."""
        there = [d for d in self.destinations() if d.names()]
        found = [b for destination in there for b in backups(destination, self.store(destination).key)]
        return [b for b in found if isinstance(b, Backup)], [b for b in found if isinstance(b, Damaged)]

    def unfinished(self, now: datetime) -> list[str]:
        """What was begun and left, by its place."""
        return [shown(d.where(name), self.target.project) for d in self.destinations() for name in d.unfinished(now)]

    @property
    def given(self) -> dict[str, Any]:
        """What the runbook gives a step that reaches where backups are kept."""
        return {"env": self.written["env"]} if "env" in self.written else {}

    def step_to_create(self, recipients: Sequence[str], reason: str) -> dict[str, Any]:
        """A step that takes a backup as the command line asks for it, or as the runbook does.

        Raises:
            UsageError: nobody said who may open it.
        """
        step = {"id": "backup", "uses": BackupCreate.uses}
        if not (recipients or reason) and self.written:
            return {**step, **{key: self.written[key] for key in ("with", "env", "timeout") if key in self.written}}
        return {**step, "with": settings_of(recipients, reason).model_dump(mode="json", exclude_defaults=True)}

    def document(self, backup: Backup) -> dict[str, Any]:
        """A backup as scripts see it."""
        return evidence_of(backup, self.target.project)

    def show(self, found: dict[str, Any]) -> None:
        """A backup, its tables and its place."""
        self.table([[name, count] for name, count in sorted(found["rows"].items())], ["table", "rows"])
        self.console.line(f"{found['backup']}  {found['state']}  {found['bytes']:,} bytes  {found['path']}")
        self.end(found)

    def table(self, rows: list[list[Any]], head: list[str]) -> None:
        """A table for people."""
        for line in table(rows, head):
            self.console.line(line)

    def end(self, data: dict[str, Any]) -> None:
        """The document for scripts, where one was asked for."""
        if self.console.as_json:
            self.console.document(data)


def sit_down(runbook: Path, env: str | None, *, as_json: bool, make: bool = True) -> Desk:
    """The environment within reach; `make` creates deployguard's folder if it is not there."""
    console = Console(as_json=as_json)
    loaded = read_runbook(runbook)
    plan = plan_for(loaded, some_environment(runbook, loaded, env))
    target = target_for(runbook, plan, make=make)
    planned = next((p for p in plan.steps if p.uses == BackupCreate.uses and not p.is_late()), None)
    if planned is None:
        return Desk(console, loaded, target)
    written = loaded.data["steps"][planned.path[1]]
    env_ = read_only_context(planned, plan, target).env
    return Desk(console, loaded, target, BackupCreate.model_validate(planned.values), env_, written)


def settings_of(recipients: Sequence[str], reason: str) -> BackupCreate:
    """A backup as the command line asks for it.

    Raises:
        UsageError: nobody said who may open it.
    """
    try:
        return BackupCreate(
            recipients=tuple(recipients), plain_reason="" if recipients else reason, one_recipient_reason=reason
        )
    except ValidationError:
        raise UsageError(
            "who may open the backup?",
            hint="Give --recipient twice (one kept elsewhere), or say in --reason why one or none is enough.",
        ) from None


def identities_in(file: str) -> list[Identity]:
    """The private keys in a file; none where no file is named."""
    if not file:
        return []
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"--identity {file}: cannot be read",
            hint="Name the file that 'age-keygen' wrote. If it is lost, any other recipient's opens the backup too.",
        ) from None
    return parse_identities(Secret(text, name=file))
