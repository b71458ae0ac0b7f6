"""A folder of this machine, or one that is mounted on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deployguard.backup.base import Pulse
from deployguard.backup.durable import PARTIAL, abandoned, explained, private_folder, publish, remove
from deployguard.backup.manifest import LONGEST, NAME, Manifest, damaged


@dataclass(frozen=True)
class Folder:
    """Backups as folders in a folder; what is being made ends in `.partial`, and has its name once it is renamed."""

    path: Path

    @property
    def staging(self) -> Path:
        """The folder itself: what is renamed must not move to another disk."""
        return self.path

    def prepare(self, name: str) -> None:  # noqa: ARG002 - a draft of this name is where it should be
        """Make the folder."""
        private_folder(self.path)

    def names(self) -> list[str]:
        """Folders that are not half written."""
        if not self.path.is_dir():
            return []
        return sorted(p.name for p in self.path.iterdir() if p.is_dir() and not p.name.endswith(PARTIAL))

    def unfinished(self, now: datetime) -> list[str]:  # noqa: ARG002 - the kernel knows who is at it
        """Folders that whoever was writing them has left."""
        return [path.name for path in abandoned(self.path)]

    def where(self, name: str) -> str:
        """Its path."""
        return str(self.path / name)

    def manifest(self, name: str) -> bytes:
        """The manifest's bytes."""
        try:
            with (self.path / name / NAME).open("rb") as stream:
                return stream.read(LONGEST)
        except OSError:
            raise damaged(self.where(name), "has no manifest that can be read, so it is no backup") from None

    def fetched(self, manifest: Manifest) -> int:  # noqa: ARG002 - they are here
        """None."""
        return 0

    @contextmanager
    def files(self, manifest: Manifest, pulse: Pulse) -> Iterator[Path]:  # noqa: ARG002 - they are here
        """The backup's own folder."""
        yield self.path / manifest.id

    def publish(self, draft: Path, manifest: Manifest, pulse: Pulse) -> None:  # noqa: ARG002 - one act
        """Rename it, as the last act."""
        with explained(draft):
            publish(draft, self.path / manifest.id)

    def remove(self, name: str) -> None:
        """Rename it first, so that no half of it passes for a backup."""
        path = self.path / name
        with explained(path):
            # what a crash has left on the way goes too
            for found in (path, path.with_name(name + PARTIAL)):
                if found.exists():
                    remove(found)
