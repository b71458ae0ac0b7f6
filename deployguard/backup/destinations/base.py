"""What every destination promises. Its file says only how it does it."""

from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from deployguard.backup.base import Pulse
from deployguard.backup.manifest import Manifest


class Destination(Protocol):
    """Where finished backups are: each is a name with a dump and a manifest."""

    @property
    def staging(self) -> Path:
        """Private folder of this machine in which backups are made and tried."""

    def prepare(self, name: str) -> None:
        """Make ready for a backup of this name, and remove what an earlier try has left of it.

        Raises:
            Refused: it could not be kept here in the end.
        """

    def names(self) -> list[str]:
        """Names of what is there and finished, whether it is in order or damaged."""

    def unfinished(self, now: datetime) -> list[str]:
        """Names under which something was begun, and that nobody is still at."""

    def where(self, name: str) -> str:
        """Where a backup is, in words that lead back to it."""

    def manifest(self, name: str) -> bytes:
        """The manifest's bytes.

        Raises:
            Damaged: there is none that can be read.
        """

    def fetched(self, manifest: Manifest) -> int:
        """Bytes that `files` writes to this machine's disk."""

    def files(self, manifest: Manifest, pulse: Pulse) -> AbstractContextManager[Path]:
        """A folder of this machine with the backup's files, for as long as the block lasts.

        Raises:
            Damaged: there are other files than there should be, or of another size.
        """

    def publish(self, draft: Path, manifest: Manifest, pulse: Pulse) -> None:
        """Take over a finished draft: nothing has the backup's name before all of it is there.

        Raises:
            StepFailed: it could not be; trying again with the same draft goes on where this ended.
        """

    def remove(self, name: str) -> None:
        """Destroy a backup, or what was begun of one; a crash on the way leaves nothing that could pass for one.

        Raises:
            Refused: it is locked.
        """
