"""What SQLite keeps of former values. Sources: sqlite.org/lang_vacuum.html, /pragma.html#pragma_wal_checkpoint."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from deployguard.databases.residue import SNAPSHOTS, Echo, Place
from deployguard.errors import ConnectionLost


class SqliteResidue:
    """Free pages of the file, and its logs."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, explaining: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._connection, self._path, self._explaining = connection, path, explaining

    def notice(self, table: str) -> str:  # noqa: ARG002 - it is one file for all
        """VACUUM is one write transaction over everything."""
        return "the whole file is written anew: others can read, writers wait"

    def room(self, table: str) -> int:
        """A copy, and the log of writing it back."""
        return 2 * sum(file.stat().st_size for place in self.places([table]) for file in place.files)

    def flush(self, tables: list[str]) -> None:
        """Every commit is in the file or its log."""

    def rewrite(self, table: str) -> None:
        """All tables are in one file, which `settle` writes anew once."""

    def settle(self) -> None:
        """Write the file anew, and empty the log."""
        with self._explaining():
            self._connection.execute("PRAGMA secure_delete=ON")
            self._connection.execute("VACUUM")
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise ConnectionLost(
                f"{self._path}: somebody is reading, so the write-ahead log could not be emptied",
                hint="Stop the application for a moment, then try again.",
            )

    def places(self, tables: list[str]) -> list[Place]:  # noqa: ARG002
        """The file and what stands beside it."""
        beside = tuple(p for s in ("-wal", "-journal") if (p := Path(f"{self._path}{s}")).exists())
        return [Place("the database's file", (self._path,)), Place("its log", beside)]

    def echoes(self) -> list[Echo]:
        """Only what is below the file."""
        return [SNAPSHOTS]
