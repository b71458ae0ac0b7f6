"""Which backups are there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployguard.backup import manifest as manifests
from deployguard.backup.base import Pulse
from deployguard.backup.destinations import Destination
from deployguard.backup.manifest import Manifest
from deployguard.backup.seal import OperatorKey
from deployguard.backup.stored import Files
from deployguard.errors import Damaged


@dataclass(frozen=True)
class Backup:
    """A backup whose seal has been checked.

    Attributes:
        sha256: of the manifest.
    """

    destination: Destination = field(repr=False, compare=False)
    manifest: Manifest
    sha256: str

    @property
    def where(self) -> str:
        """Where it is, in words that lead back to it."""
        return self.destination.where(self.manifest.id)

    @contextmanager
    def files(self, pulse: Pulse) -> Iterator[Files]:
        """Its files on this machine, for as long as the block lasts; nothing is known of their bytes yet."""
        with self.destination.files(self.manifest, pulse) as folder:
            yield Files(folder, self.manifest, self.where)


def read_backup(destination: Destination, name: str, key: OperatorKey) -> Backup:
    """The backup of a name.

    Raises:
        Damaged: there is none, or it is not what was once written.
    """
    return Backup(destination, *manifests.parse(destination.manifest(name), name, destination.where(name), key))


def backups(destination: Destination, key: OperatorKey) -> Iterator[Backup | Damaged]:
    """All backups of a destination, oldest first, and an error for everything there that is not one."""
    good: list[Backup] = []
    for name in destination.names():
        try:
            good.append(read_backup(destination, name, key))
        except Damaged as error:
            yield error
    yield from sorted(good, key=lambda b: b.manifest.taken_at)
