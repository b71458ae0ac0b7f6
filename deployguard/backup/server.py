"""What is the same of backups of any database server."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from deployguard.backup.release import is_older
from deployguard.backup.room import Need
from deployguard.databases.base import Database, Identity
from deployguard.databases.server_disk import Room, room_of
from deployguard.databases.url import DatabaseUrl
from deployguard.errors import Refused


@dataclass(frozen=True)
class ServerProduct:
    """One database of a server. Its copies are other databases there.

    Attributes:
        deadline: seconds that dumping or restoring may take.
        original: the database that is copied, where its copies go to this server from another.
    """

    where: DatabaseUrl
    deadline: float = 600.0
    original: Self | None = None
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

    @property
    def model(self) -> Self:
        """What a copy is to be like."""
        return self.original or self

    def elsewhere(self, where: DatabaseUrl) -> Self:
        """The database, with its copies on the server of `where`."""
        if where.product != self.where.product:
            raise Refused(
                f"{where.shown} is no place for a copy of {self.where.shown}: it is another product",
                hint=f"Name a {self.where.product} server in scratch_in:, or leave it out.",
            )
        return replace(self, where=where, original=self)

    def require_alike(self) -> None:
        """Compare both servers, as far as looking can tell."""
        if self.original is None:
            return
        mine, theirs = self.identity(), self.original.identity()
        if mine.engine != theirs.engine or is_older(mine, theirs):
            raise Refused(
                f"{self.where.shown} is {mine.engine} {mine.version}, and the database is of {theirs.engine}"
                f" {theirs.version}: a dump does not restore there",
                hint="Name in scratch_in: a server of the same product that is at least as new.",
            )
        if lacks := "; ".join(self._lacks()):
            raise Refused(
                f"no copy on {self.where.shown} can be equal to the database: {lacks}",
                hint="Add there what is named, or name another server in scratch_in:. Nothing was written.",
            )

    def _lacks(self) -> Iterator[str]:
        """What the database has and this server cannot give to its copy, in words."""
        raise NotImplementedError

    def swap_needs(self, size: int) -> list[Need]:  # noqa: ARG002 - it is a change of names
        """Nothing."""
        return []
