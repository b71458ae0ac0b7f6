"""When row work has to wait: replicas that fall behind, queues for locks, a busy machine, a disk that fills up."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from deployguard.databases.base import Database
from deployguard.databases.pressure import Figure, figures
from deployguard.databases.server_disk import Room
from deployguard.errors import DeployguardError
from deployguard.rows.progress import Progress, Pulse

_EVERY = 1.0
"""Seconds between two looks."""
_PAUSE = 0.25

Open = Callable[[], Database]


@dataclass(frozen=True)
class Limits:
    """What row work must not push others to.

    Attributes:
        lag: seconds that the slowest replica may be behind.
        waiting: sessions that may wait for a lock.
        load: runnable processes for each core of this machine, as a mean of the last minute; None: any number.
        free: bytes that must be left where the database keeps its data.
    """

    lag: float = 10.0
    waiting: int = 5
    load: float | None = None
    free: int = 0


@dataclass
class Throttle:
    """Looks now and then whether others suffer, over connections of its own.

    Attributes:
        primary: opens the database that is written to, for reading.
        replicas: opens those that copy it, as far as they are known; a PostgreSQL primary knows its own.
        room: what is free where a database keeps its data; None where nobody can tell.
    """

    limits: Limits
    primary: Open
    replicas: Sequence[Open] = ()
    room: Callable[[Database], Room | None] = lambda _: None
    _databases: dict[Open, Database] = field(default_factory=dict)
    _looked: float = float("-inf")
    _why: str = ""

    def why(self) -> str:
        """Why work has to wait now, for people; empty where it has not."""
        if time.monotonic() - self._looked >= _EVERY:
            self._why = next(self._reasons(), "")
            self._looked = time.monotonic()
        return self._why

    def _reasons(self) -> Iterator[str]:
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        if self.limits.load is not None and load > self.limits.load:
            yield f"waits: the load of this machine is {load:.1f} a core"
        found = self._figures()
        if (waiting := found.get("waiting") or 0) > self.limits.waiting:
            yield f"waits: {waiting:.0f} sessions wait for locks"
        if (lag := found.get("replica_lag") or 0) > self.limits.lag:
            yield f"waits: a replica is {lag:.0f} s behind"
        for number, replica in enumerate(self.replicas, 1):
            yield from self._behind(number, replica)
        if (room := self._room()) is not None and room.free < self.limits.free:
            yield f"waits: {room.free // 2**20} MiB are free where the database is; make room"

    def _room(self) -> Room | None:
        with suppress(DeployguardError, OSError):
            return self.room(self._database(self.primary))
        return None

    def _figures(self) -> Mapping[Figure, float | None]:
        # a primary that does not answer is told by whoever writes to it
        with suppress(DeployguardError):
            return figures(self._database(self.primary))
        return {}

    def _behind(self, number: int, replica: Open) -> Iterator[str]:
        try:
            lag = self._database(replica).lag()
        except DeployguardError:
            self._databases.pop(replica, None)
            yield f"waits: replica {number} does not answer"
            return
        if lag is None:
            yield f"waits: replica {number} is not replicating"
        elif lag > self.limits.lag:
            yield f"waits: replica {number} is {lag:.0f} s behind"

    def _database(self, opened: Open) -> Database:
        if opened not in self._databases:
            self._databases[opened] = opened()
        return self._databases[opened]

    def over(self, pulse: Pulse) -> Pulse:
        """A pulse that does not return while work has to wait; no transaction is open then."""

        def told(progress: Progress) -> None:
            pulse(progress)
            while why := self.why():
                pulse(replace(progress, note=why))
                time.sleep(_PAUSE)

        return told

    def close(self) -> None:
        """Let go of the connections."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()
