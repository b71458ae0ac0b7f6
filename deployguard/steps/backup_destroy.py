"""`backup.destroy`: backups that have had their time, gone for good and on record."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from deployguard.backup.destinations import split
from deployguard.backup.find import read_backup
from deployguard.backup.seal import operator_key
from deployguard.errors import Damaged
from deployguard.steps.backup_create import destination_of, evidence_of
from deployguard.steps.base import JSON, Context, Outcome, Preview, Progress, Step


class BackupDestroy(Step):
    """Destroy backups: what has expired, or holds the data as it was before a change.

    `deployguard backup prune` decides which, shows its plan, and carries this out as a run of its own. Nothing
    undoes it.
    """

    uses: ClassVar[str] = "backup.destroy"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    example: ClassVar[str] = (
        "- id: destroy\n  uses: backup.destroy\n"
        "  with: { backups: { .deployguard/backups/production-20260101-backup: holds plaintext } }"
    )

    backups: Mapping[str, str]
    """Why, for each: its folder (a relative one begins at the runbook), or its `s3://…`."""

    def preview(self, context: Context) -> Preview:  # noqa: ARG002 - the runbook names them
        """Which."""
        return Preview(summary=f"destroy {', '.join(self.backups)}")

    def capture(self, context: Context) -> JSON:
        """What is known of each while it is there."""
        return {"backups": list(self._known(context))}

    def _known(self, context: Context) -> Iterator[JSON]:
        key = operator_key(context.target.home.path, make=False)
        for where, why in self.backups.items():
            to, name = split(where)
            there = destination_of(to, context.target, context.env)
            try:
                known = evidence_of(read_backup(there, name, key), context.target.project)
            except Damaged:  # what was begun and never finished has no manifest
                known = {"backup": name, "state": "unfinished"}
            yield {**known, "path": where, "why": why}

    def execute(self, context: Context) -> Outcome:
        """Destroy each; one that is gone already was destroyed before we were interrupted."""
        for number, where in enumerate(self.backups):
            context.pulse(Progress(f"destroying {where}", number, len(self.backups), unit="backups"))
            to, name = split(where)
            destination_of(to, context.target, context.env).remove(name)
        known = context.before.get("backups", [])
        names = ", ".join(str(backup["backup"]) for backup in known)
        return Outcome(f"{len(self.backups)} destroyed: {names}", evidence={"destroyed": known})
