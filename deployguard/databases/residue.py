"""What a database keeps of values that were there before: each product's file says where, and how it is cleaned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Place:
    """Files that may hold former values.

    Attributes:
        what: in words, such as "the table web_profile".
        files: those that this process may read; none where they are elsewhere.
        why_not: why they cannot be read, where they cannot.
        cleaned: whether `rewrite` reaches them.
    """

    what: str
    files: tuple[Path, ...] = ()
    why_not: str = ""
    cleaned: bool = True


@dataclass(frozen=True)
class Echo:
    """Something beyond the table's files that may still hold former values.

    Attributes:
        what: where, in words.
        until: when it goes by itself, in words; empty where it does not.
        fix: what a person can do.
    """

    what: str
    until: str
    fix: str


class Residue(Protocol):
    """What stays behind in one database, and the way to clean it."""

    def notice(self, table: str) -> str:
        """What others notice while the table is written anew, in words."""

    def room(self, table: str) -> int:
        """Bytes of disk that writing it anew takes while it lasts."""

    def flush(self, tables: list[str]) -> None:
        """Have what was written stand in the files, as far as this user may, so that looking means something."""

    def rewrite(self, table: str) -> None:
        """Write the table's files anew, so that they hold nothing but its rows of now.

        Raises:
            ConnectionLost: somebody held a lock for too long; it can be tried again.
        """

    def settle(self) -> None:
        """After the last table: let go of what the product itself can let go of."""

    def places(self, tables: list[str]) -> list[Place]:
        """Where former values of some tables may stand."""

    def echoes(self) -> list[Echo]:
        """What nothing here reaches."""


SNAPSHOTS = Echo(
    "snapshots of the disk and freed blocks of the file system",
    "",
    "Expire the snapshots; trim or overwrite free blocks.",
)
"""Of any product: it is below what a database can see."""


def readable(what: str, folder: Path, patterns: tuple[str, ...], *, cleaned: bool) -> Place:
    """A place made of the files that match, or why they cannot be read."""
    try:
        files = tuple(sorted(f for pattern in patterns for f in folder.glob(pattern) if f.is_file()))
        for file in files:
            file.open("rb").close()
    except OSError:
        return Place(what, (), "this user may not read the files", cleaned)
    return Place(what, files, "" if files else "the files are not on this machine", cleaned)
