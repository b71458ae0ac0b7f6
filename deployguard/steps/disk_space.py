"""`disk.space`: room for the backup and for the tokens."""

import shutil
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from deployguard.runbook.quantities import Size
from deployguard.steps.base import Check, Context, Outcome


class DiskSpace(Check):
    """Check that there is room for backups, for the restored copy and for the growth of the rows."""

    uses: ClassVar[str] = "disk.space"
    example: ClassVar[str] = "- uses: disk.space\n  with: { at_least: 2GiB }"

    at_least: Size = 512 * 1024 * 1024
    """Bytes that must be free in any case."""
    factor: float = Field(3.0, ge=1)
    """How many times the size of the database must be free."""

    def execute(self, context: Context) -> Outcome:
        """Compare what is free where the backups go with what is needed."""
        folder = _existing(context.target.home.backups)
        size = 0
        if context.target.database_url is not None:
            database = context.target.connect(read_only=True)
            try:
                size = database.size()
            finally:
                database.close()
        free, needed = shutil.disk_usage(folder).free, max(self.at_least, int(size * self.factor))
        evidence = {"free": free, "needed": needed, "database": size, "folder": str(folder)}
        summary = f"{free // 2**20} MiB free in {folder}, {needed // 2**20} MiB needed"
        if free < needed:
            return Outcome(
                summary,
                status="fail",
                hint="Free some space, or set DEPLOYGUARD_HOME to a larger disk.",
                evidence=evidence,
            )
        return Outcome(summary, evidence=evidence)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
