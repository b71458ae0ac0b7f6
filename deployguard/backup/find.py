"""Which backups are there."""

from collections.abc import Iterator
from pathlib import Path

from deployguard.backup import manifest as manifests
from deployguard.backup.durable import PARTIAL
from deployguard.backup.seal import OperatorKey
from deployguard.backup.take import Backup
from deployguard.errors import Damaged


def read_backup(path: Path, key: OperatorKey) -> Backup:
    """The backup in a folder.

    Raises:
        Damaged: there is none, or it is not what was once written.
    """
    return Backup(path, *manifests.read(path, key))


def backups(folder: Path, key: OperatorKey) -> Iterator[Backup | Damaged]:
    """All backups in a folder, oldest first, and an error for every folder that is not one."""
    if not folder.is_dir():
        return
    good: list[Backup] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.endswith(PARTIAL):
            try:
                good.append(read_backup(path, key))
            except Damaged as error:
                yield error
    yield from sorted(good, key=lambda b: b.manifest.taken_at)
