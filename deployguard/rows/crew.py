"""Who does row work: this process, or several beside it, each with a connection of its own.

Work is cut into slices of half a second or less. Whoever does one gets its state, does
what fits into the time, and gives the state back: between slices nothing is held, no
transaction is open, and anybody else can go on, also after the one before has died.
The hands are a `concurrent.futures.Executor`: a pool of processes here, and where work
is handed to other machines, theirs.
"""

import ctypes
import gc
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from deployguard.databases import connect
from deployguard.databases.base import Database
from deployguard.errors import StepFailed
from deployguard.keys.sealer import Sealer, Sealers
from deployguard.rows.manners import Manners
from deployguard.rows.sealers import NOTHING, Beside, sealers_of
from deployguard.rows.target import EncryptedColumn
from deployguard.secret import Secret

SLICE = 0.5
"""Seconds of work between two looks at whether to go on."""
_WORTH_IT = 20_000
"""Rows below which starting processes takes longer than they save."""
_DEATHS = 5
"""So many times a worker may die before the step gives up."""
_NICE = 10
"""Behind whatever else the machine does: docs/decisions/0013-others-first.md."""
_UNLOOKED = 50_000
"""Objects that a worker makes between two looks for unreachable cycles."""
_PR_SET_PDEATHSIG = 1

State = TypeVar("State")


@dataclass(frozen=True)
class Desk:
    """What a slice of work is done with."""

    database: Database
    keyring: Sealers
    manners: Manners = field(default_factory=Manners)
    """Which those have in common that write."""

    def of(self, column: EncryptedColumn) -> Sealer:
        """Who seals and opens a column's values."""
        return self.keyring.of(column.table, column.column)


@dataclass(frozen=True)
class Slice(Generic[State]):
    """What was done in one go.

    Attributes:
        state: from which the next slice goes on.
        rows: read.
        ended: whether nothing is left.
        batch: rows of one transaction lately.
    """

    state: State
    rows: int
    ended: bool
    batch: int = 0


Work = Callable[[Desk, State, float], Slice[State]]
"""A function of a module, since processes find it by its name: does about so many seconds of work."""


class Crew(Protocol):
    """Those who can do slices of work."""

    def hands(self, rows: int) -> "Hands":
        """How work on so many rows is best divided."""


class Hands(Protocol):
    """Who does slices at the same time."""

    many: int
    seconds: float
    """How long a slice should take; 0 for one batch."""
    manners: Manners
    listens: bool
    """Whether they step back where others write."""

    def do(self, work: Work[State], state: State) -> "Future[Slice[State]]":
        """Begin one slice."""

    def replace(self) -> None:
        """After one of them has died: others in the place of all."""


class Alone:
    """This process does everything, batch by batch, over the connection that it has."""

    many = 1
    seconds = 0.0

    def __init__(self, desk: Desk, *, listens: bool = False) -> None:
        self.desk, self.manners, self.listens = desk, desk.manners, listens

    def hands(self, rows: int) -> Hands:  # noqa: ARG002 - however many there are
        """Always the same two."""
        return self

    def do(self, work: Work[State], state: State) -> Future[Slice[State]]:
        """Do one slice, before anybody asks for it."""
        done: Future[Slice[State]] = Future()
        done.set_result(work(self.desk, state, self.seconds))
        return done

    def replace(self) -> None:
        """It does not come back from being dead."""


@dataclass(frozen=True)
class Place:
    """Where a worker finds what it works with."""

    url: str | Secret
    base: Path
    keys: tuple[Secret, ...]
    read_only: bool = False
    beside: Beside = NOTHING


@dataclass
class Team:
    """This process for little, a pool of processes for much. Close it: a worker has a connection.

    Attributes:
        many: processes, one for each core that this one may use unless said otherwise.
        others_first: whether much work steps back where others write to the database.
    """

    place: Place
    alone: Alone
    many: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    others_first: bool = True
    _pool: "_Pool | None" = None

    def hands(self, rows: int) -> Hands:
        """The pool from some number of rows on, where there is more than one core."""
        if rows < _WORTH_IT:
            return self.alone
        if self.many < 2:  # noqa: PLR2004 - one process is this one
            return Alone(self.alone.desk, listens=self.others_first)
        self._pool = self._pool or _Pool(self.place, self.many, listens=self.others_first)
        return self._pool

    def __enter__(self) -> Self:
        """Nothing is started before it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the slices under way, and end the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class _Pool:
    """Processes with a desk each."""

    seconds = SLICE

    def __init__(self, place: Place, many: int, *, listens: bool) -> None:
        self.many, self.listens = many, listens
        self.manners = Manners()
        self._place = place
        self._executor = self._hired()

    def _hired(self) -> Executor:
        # not forked: this process may have threads, and theirs are the locks that a copy would wait for
        place = self._place
        url, keys = _told(place.url), tuple(key.reveal() for key in place.keys)
        context = get_context("spawn")
        # a new one with each hiring: who died may have had the turn
        self.manners = Manners.between(context, max(1, self.many // 2), gentle=self.manners.gentle)
        # secrets go through the pipe that a new process reads its orders from, and nowhere else
        return ProcessPoolExecutor(
            self.many, context, _sit_down,
            (url, str(place.base), keys, place.read_only, os.getpid(), place.beside.told(), self.manners),
        )  # fmt: skip

    def do(self, work: Work[State], state: State) -> Future[Slice[State]]:
        """Begin one slice."""
        try:
            return self._executor.submit(_at_my_desk, work, state, self.seconds)
        except BrokenExecutor as error:
            # told like a death under way: both are noticed at the same place
            broken: Future[Slice[State]] = Future()
            broken.set_exception(error)
            return broken

    def replace(self) -> None:
        """End those that are left, and hire as many."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._hired()

    def close(self) -> None:
        """Wait for the slices under way, and end the processes."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _told(url: str | Secret) -> str:
    return url.reveal() if isinstance(url, Secret) else url


@dataclass
class _Worker:
    """This process, where it is a worker."""

    place: Place
    manners: Manners
    desk: Desk | None = None

    def at_desk(self) -> Desk:
        """Connect when there is something to do: what stops it is then told like any other stop."""
        if self.desk is None:
            database = connect(self.place.url, base=self.place.base, read_only=self.place.read_only)
            self.desk = Desk(database, sealers_of(self.place.keys, self.place.beside), self.manners)
        return self.desk


_me: list[_Worker] = []


def _sit_down(
    url: str,
    base: str,
    keys: tuple[str, ...],
    read_only: bool,
    parent: int,
    beside: dict[str, Any],
    manners: Manners,
) -> None:
    # whoever holds the lease answers to signals; a worker ends with it, and is never alone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    _behind_others()
    # rows hold no cycles: looking for some in each batch took a fifteenth of the time
    gc.freeze()
    gc.set_threshold(_UNLOOKED)
    secrets = tuple(Secret(key, name="key") for key in keys)
    place = Place(Secret(url, name="database URL"), Path(base), secrets, read_only, Beside.heard(beside))
    _me.append(_Worker(place, manners))


def _behind_others() -> None:
    os.nice(_NICE)
    # some kernels weigh sessions against each other, whatever is nice within them: sched(7), "The autogroup feature"
    with suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(_NICE), "ascii")


def _at_my_desk(work: Work[State], state: State, seconds: float) -> Slice[State]:
    return work(_me[0].at_desk(), state, seconds)


def carry_out(
    hands: Hands, work: Work[State], todo: Sequence[State], told: Callable[[Slice[State] | None], None]
) -> list[State]:
    """Work through states side by side, each in slices, until nothing is left of any.

    Args:
        hands: who does it.
        work: does a slice from a state on. After a death it is given a state that it was given
            before: what is done must be seen from the target, not from the state.
        todo: where to begin, in the order in which they are taken up.
        told: called after each slice, and now and then without one. While it has not returned,
            nothing new is begun; what it raises ends the work once the slices under way are done.

    Returns:
        The last states, in the order of `todo`.

    Raises:
        StepFailed: workers die again and again.
    """
    states, waiting, deaths = list(todo), deque(range(len(todo))), 0
    under_way: dict[Future[Slice[State]], int] = {}
    try:
        while waiting or under_way:
            while waiting and len(under_way) < hands.many:
                number = waiting.popleft()
                under_way[hands.do(work, states[number])] = number
            ended = wait(under_way, SLICE, FIRST_COMPLETED).done
            if any(isinstance(future.exception(), BrokenExecutor) for future in ended):
                deaths += 1
                _give_up_after(deaths)
                # one death ends them all, and nobody knows how far each had come
                waiting.extendleft(under_way.values())
                under_way.clear()
                told(None)
                hands.replace()
                continue
            for future in ended:
                number = under_way.pop(future)
                done = future.result()
                states[number] = done.state
                if not done.ended:
                    waiting.appendleft(number)
                told(done)
            if not ended:
                told(None)
    finally:
        wait(under_way)
    return states


def _give_up_after(deaths: int) -> None:
    if deaths > _DEATHS:
        raise StepFailed(
            f"processes that work on rows were killed {deaths} times",
            hint="Is there too little memory? Set workers: 1, then resume: nothing is lost.",
        )
