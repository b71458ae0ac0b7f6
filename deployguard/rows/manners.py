"""How those who write rows leave room, for each other and for everybody else: docs/decisions/0014-stepping-back.md."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from ctypes import c_bool
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from typing import Protocol, Self

from deployguard.databases.base import Database, Gentle

STEPS_BACK = "steps back: others write to the database"
_EVERY, _EVERY_AT_FULL_SPEED = 0.5, 1.0
"""Seconds from one listening to the next. At full speed it costs something: those who could write wait for its end."""
_FIRST, _FULL, _GENTLE = 0.04, 0.02, 0.1
"""Seconds of listening: before the first write; while the work goes at full speed; while it has stepped back."""
_SILENT = 4
"""After so many listenings that heard nobody the work goes at full speed again."""
_PATIENCE = 3.0
"""Seconds to wait for the turns. One that a dead process had never comes."""
_LONGEST = 1.0
"""Seconds of a pause: a batch that itself waited for a lock took long without having written."""


class _Turns(AbstractContextManager[object], Protocol):
    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...
    def release(self) -> None: ...


class _Flag(Protocol):
    value: bool


@dataclass
class _Here:
    """A flag that one process has for itself."""

    value: bool = False


@dataclass(frozen=True)
class Manners:
    """What the writers of a crew have in common, though they be processes.

    Attributes:
        many: of them may write at the same time.
    """

    many: int = 1
    _turns: _Turns = field(default_factory=threading.Semaphore)
    _flag: _Flag = field(default_factory=_Here)

    @classmethod
    def between(cls, context: SpawnContext, many: int, *, gentle: bool) -> Self:
        """Those of processes that are yet to be spawned."""
        return cls(many, context.Semaphore(many), context.RawValue(c_bool, gentle))

    @property
    def gentle(self) -> bool:
        """Whether others write too, so that the work steps back."""
        return self._flag.value

    def step_back(self, gentle: bool) -> None:
        """From the next batch of each on."""
        self._flag.value = gentle

    @contextmanager
    def turn(self, gentle: Gentle) -> Iterator[None]:
        """Taken while rows are written. Having stepped back, one keeps it for as long as nobody is to write."""
        with self._turns:
            begun = time.monotonic()
            yield
            if self.gentle:
                time.sleep(min(_LONGEST, (time.monotonic() - begun) * (self.many / gentle.share - 1)))

    @contextmanager
    def quiet(self, seconds: float) -> Iterator[bool]:
        """Take all turns, so that nobody writes, if they can be had in time: says whether."""
        taken, until = 0, time.monotonic() + seconds
        try:
            while taken < self.many and self._turns.acquire(timeout=max(0.0, until - time.monotonic())):
                taken += 1
            yield taken == self.many
        finally:
            for _ in range(taken):
                self._turns.release()


class Followed(Protocol):
    """Those whose manners one listens for."""

    manners: Manners
    listens: bool


@dataclass
class Others:
    """Listens now and then whether anybody else writes, and has the crew step back for as long as somebody does."""

    database: Database
    crew: Followed
    _heard: float = float("-inf")
    _silent: int = 0

    def listen(self) -> str:
        """Listen if it is time to; what to tell people of it, or nothing."""
        if not self.crew.listens:
            return ""
        gentle = self.crew.manners.gentle
        if time.monotonic() - self._heard >= (_EVERY if gentle else _EVERY_AT_FULL_SPEED):
            first = self._heard == float("-inf")
            self._follow(_FIRST if first else _GENTLE if gentle else _FULL)
            self._heard = time.monotonic()
        return STEPS_BACK if self.crew.manners.gentle else ""

    def _follow(self, seconds: float) -> None:
        # asked for each time: after a death the crew is another
        manners = self.crew.manners
        with manners.quiet(_PATIENCE) as still:
            if not still:
                return
            before = self.database.writes()
            time.sleep(seconds)
            others = self.database.writes() != before
        self._silent = 0 if others else self._silent + 1
        manners.step_back(others or (manners.gentle and self._silent < _SILENT))
