"""Which backups have had their time. Pure: whoever asks brings the time and the runs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deployguard.backup.find import Backup


@dataclass(frozen=True)
class Fate:
    """What is to become of a backup, and why."""

    backup: Backup
    destroy: bool
    why: str


def fates(
    backups: Sequence[Backup], *, now: str, unfinished: Collection[str] = (), plaintext_before: str | None = None
) -> list[Fate]:
    """Decide on every backup.

    Args:
        backups: all of them, of all environments.
        now: RFC 3339, UTC, as manifests have it.
        unfinished: ids of runs that may still need theirs.
        plaintext_before: a moment, in the form of `now`. What was taken before it holds the
            data as it was before the change, and goes whether it has expired or not.

    The newest backup of an environment that has been restored is never destroyed.
    """
    last = {b.manifest.environment: b.manifest.id for b in _oldest_first(backups) if b.manifest.reached("restored")}
    return [
        _fate(b, now, unfinished, plaintext_before, last=last.get(b.manifest.environment) == b.manifest.id)
        for b in _oldest_first(backups)
    ]


def _oldest_first(backups: Sequence[Backup]) -> list[Backup]:
    return sorted(backups, key=lambda b: (b.manifest.taken_at, b.manifest.ended_at, b.manifest.id))


def _fate(backup: Backup, now: str, unfinished: Collection[str], plaintext_before: str | None, *, last: bool) -> Fate:
    manifest = backup.manifest
    if manifest.run in unfinished:
        return Fate(backup, destroy=False, why=f"run {manifest.run} is unfinished and may need it")
    if last:
        return Fate(backup, destroy=False, why=f"the last one of {manifest.environment} that has been restored")
    if plaintext_before is not None and manifest.taken_at < plaintext_before:
        return Fate(backup, destroy=True, why="holds the data as it was before the change")
    if manifest.expires <= now:
        return Fate(backup, destroy=True, why=f"expired {manifest.expires}")
    return Fate(backup, destroy=False, why=f"expires {manifest.expires}")
