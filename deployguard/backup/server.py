"""What is the same of backups of any database server."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from deployguard.backup.room import Need
from deployguard.databases.base import Database, Identity
from deployguard.databases.server_disk import Room, room_of
from deployguard.databases.url import DatabaseUrl


@dataclass(frozen=True)
class ServerProduct:
    """One database of a server. Its copies are other databases there.

    Attributes:
        deadline: seconds that dumping or restoring may take.
    """

    where: DatabaseUrl
    deadline: float = 600.0
    snapshot_is_copy: ClassVar[bool] = False

    def _database(self) -> Database:
        """A connection for looking."""
        raise NotImplementedError

    def identity(self) -> Identity:
        """Which database it is."""
        with closing(self._database()) as database:
            return database.identity()

    def size(self) -> int:
        """Bytes that it takes up on the server."""
        with closing(self._database()) as database:
            return database.size()

    def room(self, folder: Path) -> Room | None:  # noqa: ARG002 - copies are databases of the same server
        """What the server's disk has left."""
        with closing(self._database()) as database:
            return room_of(database, self.where.host)

    def swap_needs(self, size: int) -> list[Need]:  # noqa: ARG002 - it is a change of names
        """Nothing."""
        return []
