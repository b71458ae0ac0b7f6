"""How the values of a column are sealed and opened, by whomever: by keys that we hold, or by the application."""

from collections.abc import Sequence
from typing import Protocol

from deployguard.keys.keyring import Locked, Opened


class Sealer(Protocol):
    """Seals and opens the values of a column."""

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of its keys, the sealing one first; none where they cannot be seen."""

    @property
    def shortest(self) -> int:
        """Bytes of the shortest token."""

    @property
    def example(self) -> bytes:
        """A plaintext like those of the column, for measuring."""

    def seal_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """A token of each, read back before it is given out."""

    def open(self, token: bytes) -> Opened | None:
        """What a token holds; None when it does not open."""

    def look(self, values: Sequence[bytes]) -> list[Opened | Locked | None]:
        """What each value is: opened, a token that does not open, or, where it is built like none, None."""

    def forms(self, values: Sequence[bytes]) -> list[bytes | None]:
        """Each token's bytes, with its stamp where `tokens.STAMP` says; None for anything not built like one."""

    def sizes(self, plaintexts: Sequence[bytes]) -> list[int | None]:
        """Bytes of the token of each; None where no token would give it back byte for byte."""


class Sealers(Protocol):
    """Who seals and opens which column."""

    def of(self, table: str, column: str) -> Sealer:
        """The column's."""
