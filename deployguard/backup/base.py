"""What every database product promises to a backup. Its file says only how it does it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from deployguard.backup.room import Need
from deployguard.databases.base import Identity
from deployguard.databases.server_disk import Room
from deployguard.databases.url import DatabaseUrl

COUNTING = "counting the rows"
"""Label of the phase that finds out what a database holds."""
_STEP = 1024 * 1024
Pulse = Callable[[str, int, int | None], None]
"""Called between units of work with a label, bytes done and bytes in all. What it raises ends the work cleanly."""


def quiet(_label: str, _done: int, _total: int | None) -> None:
    """Show nothing, stop never."""


class Tally:
    """Bytes of one phase, told under one label for every megabyte or so.

    Args:
        label: of the phase; none other of the same work has it, so that its rate is its own.
        total: bytes in all, as far as anybody can tell beforehand; None where nobody can.
    """

    def __init__(self, label: str, total: int | None, pulse: Pulse) -> None:
        self._label, self._total, self._pulse = label, total, pulse
        self._told = self.done = 0

    def add(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        if self.done - self._told >= _STEP:
            self._tell(self._total)

    def end(self) -> None:
        """All of them are."""
        self._tell(self.done)

    def _tell(self, total: int | None) -> None:
        self._told = self.done
        self._pulse(self._label, self.done, None if total is None else max(total, self.done))


@dataclass(frozen=True)
class Table:
    """What a table held.

    Attributes:
        rows: how many.
        digest: keyed digest, in hexadecimal, over all values in a fixed order. Keyed, since
            a plain one would let anybody try out guesses of what a small table holds.
    """

    rows: int
    digest: str


@dataclass(frozen=True)
class Facts:
    """What a database held at one moment, to be compared with its restored copy.

    Attributes:
        schema: SHA-256 over everything that is declared.
        tables: by name.
        notes: findings of the product's own checks that do not stand in the way, such as
            foreign keys that point nowhere; a copy must have the same ones.
        counters: numbers that sequences had given away before the dump was begun. They obey no
            transaction, so beside live writers a copy may be further, and is never behind.
    """

    schema: str
    tables: dict[str, Table]
    notes: tuple[str, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)

    def differences(self, other: "Facts") -> list[str]:
        """Where a copy differs, in words without any value; empty where it is the same."""
        found = [] if self.schema == other.schema else ["the schema differs"]
        for name in sorted(self.tables.keys() | other.tables.keys()):
            mine, theirs = self.tables.get(name), other.tables.get(name)
            if mine is None or theirs is None:
                found.append(f"table {name!r} is {'missing' if theirs is None else 'new'}")
            elif mine.rows != theirs.rows:
                found.append(f"table {name!r} has {theirs.rows:,} rows, not {mine.rows:,}")
            elif mine.digest != theirs.digest:
                found.append(f"table {name!r} holds other values")
        nowhere = -(2**64)
        behind = [name for name, given in self.counters.items() if other.counters.get(name, nowhere) < given]
        found += [f"sequence {name!r} would give numbers again that it has given" for name in behind]
        return found if self.notes == other.notes else [*found, "the product's own checks find other things"]


@dataclass(frozen=True)
class Loss:
    """What a restore would take away from a table, counted against the backup.

    Attributes:
        added: rows that are only in the present database.
        changed: rows that are in both, with other values.
        removed: rows that are only in the backup, and would come back.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed"


class Source(Protocol):
    """Bytes to be read."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Snapshot(Protocol):
    """A database held still: what is counted is what is dumped."""

    def facts(self, pulse: Pulse) -> Facts:
        """What it holds. It may be counted in another thread than the dump is read in."""

    def give_up(self) -> None:
        """End a counting that is under way in another thread; it raises there."""

    @property
    def position(self) -> str:
        """Where in its history it stands, in the product's own terms."""

    def read(self, *, packed: bool) -> AbstractContextManager[BinaryIO]:
        """The dump, as a stream; `packed` if nothing else will compress it.

        Leaving raises `StepFailed` when whatever produced it did not finish well.
        """


class Copy(Protocol):
    """A dump that has been restored beside the database, under a name of its own."""

    @property
    def database(self) -> str:
        """Its name, as it stands in a URL: a file's whole path, or a database on the server."""

    def facts(self, key: bytes, pulse: Pulse) -> Facts:
        """What it holds."""

    def loss(self) -> dict[str, Loss]:
        """What putting it in the database's place would take away, by table; only tables with a difference."""

    def take_place(self, kept: str, expected: Facts, key: bytes, pulse: Pulse) -> str:
        """Put it in the database's place, all at once, and keep what was there.

        Args:
            kept: name, without folder or server, to keep the present database under.
            expected: what the database must hold afterwards.
            key: of the digests in `expected`.
            pulse: called until the swap begins; from there on it is not stopped.

        Returns:
            Where the former database is now.

        Raises:
            Refused: somebody else is using the database; nothing was changed.
        """


class Product(Protocol):
    """One database to be backed up, and the way to restore it."""

    @property
    def dump_name(self) -> str:
        """File name of its dump."""

    def identity(self) -> Identity:
        """Which database it is."""

    @property
    def snapshot_is_copy(self) -> bool:
        """Whether holding it still takes a copy of it, in a private folder of this machine."""

    def size(self) -> int:
        """Bytes that it takes up, about as many as a copy of it will."""

    def room(self, folder: Path) -> Room | None:
        """Of the disk that copies are restored to, `folder` being private; None where nobody can tell."""

    def swap_needs(self, size: int) -> list[Need]:
        """What is written while a copy of `size` bytes takes its place."""

    def client_version(self) -> str:
        """Of the tool that dumps and restores."""

    def snapshot(self, folder: Path, key: bytes, pulse: Pulse) -> AbstractContextManager[Snapshot]:
        """Hold the database still, beside its writers. `folder` is private, for scratch files."""

    def restored(self, dump: Source, folder: Path, name: str, pulse: Pulse) -> AbstractContextManager[Copy]:
        """Restore a dump into a scratch database that is removed at the end, unless it took the database's place."""

    def clear(self, name: str) -> None:
        """Remove the scratch database of a name, where a killed process has left it."""

    def elsewhere(self, where: DatabaseUrl) -> "Product":
        """The database, with its copies on another server: to try them there, never to take its place.

        Raises:
            Refused: that is no server of the same product.
        """

    def require_alike(self) -> None:
        """Pass if the server that copies go to can hold an equal one. Changes nothing.

        Raises:
            Refused: it is another product, older, or lacks something that the database uses, by name.
        """
