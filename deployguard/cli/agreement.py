"""What a restore takes away, shown before it does, and a person's word that it may."""

from collections.abc import Sequence
from shlex import quote

from deployguard.backup.restore import Ready
from deployguard.cli.console import Console, table
from deployguard.errors import Refused


def agree(console: Console, standing: Ready, *, yes: bool, confirm: Sequence[str] | None) -> None:
    """Show the target and what it would lose; go on only when somebody names the database.

    Args:
        console: to show and to ask on.
        standing: the backup, restored beside the database.
        yes: enough where nothing would be lost.
        confirm: the names, given beforehand by who has no terminal.

    Raises:
        Refused: nobody named it. Nothing was changed.
    """
    it, manifest = standing.identity, standing.backup.manifest
    console.line(f"{it.engine} {it.version}, database {it.database}, host {it.host}, server {it.server_id}")
    lost = sum(loss.added + loss.changed for loss in standing.loss.values())
    back = sum(loss.removed for loss in standing.loss.values())
    what = f"takes away {lost:,} rows that were added or changed since, and brings back {back:,} that were removed"
    console.line(f"restoring {manifest.id}, taken {manifest.taken_at}, {what}")
    rows = [[name, loss.added, loss.changed, loss.removed] for name, loss in sorted(standing.loss.items())]
    for line in table(rows, ["table", "added", "changed", "removed"]) if rows else ():
        console.line(line)
    if yes and not standing.loss:
        return
    given = confirm or [console.typed(f"To go on, type the database's name ({standing.name}): ") or ""]
    if standing.name not in given:
        raise Refused(
            f"restoring {manifest.id} {what}, and nobody named the database",
            hint=f"Nothing was changed. Without a terminal, to accept that loss: --confirm {quote(standing.name)}.",
        )
