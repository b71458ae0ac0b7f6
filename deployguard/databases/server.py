"""What database servers have in common, however they spell the rest."""

from collections.abc import Sequence
from typing import Any, Protocol

from deployguard.databases.base import PREFIX, Checkpoint
from deployguard.databases.state import CHECKPOINT, checkpoint_of


class Ask(Protocol):
    """What runs a query."""

    def __call__(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that it gives."""


class ServerState:
    """The state that deployguard keeps, as any server is asked for it."""

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def _has_state(self) -> bool:
        raise NotImplementedError

    def fence(self) -> int:
        """The highest fencing token that was ever claimed here."""
        found = self._all(f"SELECT fence FROM {PREFIX}fence") if self._has_state() else []
        return int(found[0][0]) if found else 0

    def checkpoints(self, operation: str, table: str) -> list[Checkpoint]:
        """Where an operation stands, range by range."""
        return self._checkpoints("operation = %s AND name = %s ORDER BY shard", (operation, table))

    def checkpoint(self, operation: str, table: str, shard: int) -> Checkpoint | None:
        """Where it stands in one of them."""
        found = self._checkpoints("operation = %s AND name = %s AND shard = %s", (operation, table, shard))
        return found[0] if found else None

    def _checkpoints(self, where: str, values: Sequence[object]) -> list[Checkpoint]:
        query = f"SELECT {CHECKPOINT} FROM {PREFIX}checkpoint WHERE {where}"
        return [checkpoint_of(found) for found in self._all(query, values)] if self._has_state() else []

    def keeps(self, operation: str, table: str) -> bool:
        """Whether there are values that the undo must leave."""
        query = f"SELECT 1 FROM {PREFIX}kept WHERE operation = %s AND name = %s LIMIT 1"
        return self._has_state() and bool(self._all(query, (operation, table)))

    def operations(self) -> set[str]:
        """Names of the operations that have a checkpoint here."""
        query = f"SELECT DISTINCT operation FROM {PREFIX}checkpoint"
        return {str(name) for (name,) in self._all(query)} if self._has_state() else set()
