"""Who descends from whom, and how to end them all. Without /proc: nobody is known."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock

from deployguard.process.environment import MARK

TICK = 0.005
"""Seconds between two looks at who is left."""
PATIENCE = 2.0
"""Seconds to wait for what was killed."""
_NUMBERS = count()


@dataclass(frozen=True)
class Process:
    """One process as the kernel shows it; its number and its start together are unique until the next boot."""

    pid: int
    parent: int
    group: int
    session: int
    began: float
    zombie: bool

    def send(self, number: int) -> None:
        """Signal it, unless it is gone."""
        if (now := look(self.pid)) is not None and now.began == self.began:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


def started(pid: int) -> float | None:
    """When a living process began, in clock ticks since boot; None when there is none, or no /proc."""
    process = look(pid)
    return None if process is None or process.zombie else process.began


def end_leftover(pid: int, pid_started: float, *, grace: float) -> bool:
    """End what a dead run left running: a process, its session and whatever came of them.

    Args:
        pid: what `on_start` was given.
        pid_started: likewise.
        grace: seconds between TERM and KILL.

    Returns:
        Whether anything was still there. A number that another process has by now is left alone.
    """
    leader = look(pid)
    if not pid_started or (leader is not None and leader.began != pid_started):
        return False
    # while anything is left of a session its number is not given out again, but after a boot it may be: hence the mark
    session = [p for p in _all() if p.session == pid and p.began >= pid_started and _mark_of(p.pid)]
    marks = {mark for p in session if (mark := _mark_of(p.pid))}
    known = {(p.pid, p.began) for p in session} | ({(pid, pid_started)} if leader else set())

    def find() -> list[Process]:
        family = [p for p in _all() if (p.pid, p.began) in known or (marks and _mark_of(p.pid) in marks)]
        alive = [p for p in tree([p.pid for p in family]) if not p.zombie]
        known.update((p.pid, p.began) for p in alive)
        return alive

    return end_all(find, grace) > 0


@cache
def _engine_mark(pid: int) -> str:
    """What the marks of everything that a living process starts begin with."""
    return f"{pid}-{started(pid) or 0.0:.0f}."


def new_mark() -> str:
    """What is to stand in the environment of the next that we start; no other has it."""
    return f"{_engine_mark(os.getpid())}{time.monotonic_ns()}.{next(_NUMBERS)}"


def end_orphans(pid: int, pid_started: float, *, grace: float) -> bool:
    """End whatever a dead engine left running, also what it had no time to put on record.

    Args:
        pid: the engine's process id.
        pid_started: when it began, as `started` said then.
        grace: seconds between TERM and KILL.

    Returns:
        Whether anything was still there. While the engine itself lives, nothing is touched.
    """
    leader = look(pid)
    if not pid_started or (leader is not None and leader.began == pid_started and not leader.zombie):
        return False
    mark = f"{MARK}={pid}-{pid_started:.0f}.".encode()

    def find() -> list[Process]:
        marked = [p.pid for p in _all() if _mark_of(p.pid).startswith(mark)]
        return [p for p in tree(marked) if not p.zombie]

    return end_all(find, grace) > 0


def end_all(find: Callable[[], list[Process]], grace: float) -> int:
    """TERM, grace, KILL for what `find` finds, again and again until it finds nothing; return how many."""
    told: set[tuple[int, float]] = set()
    seen: set[tuple[int, float]] = set()
    number, until = (signal.SIGTERM, time.monotonic() + grace) if grace > 0 else (signal.SIGKILL, 0.0)
    hopeless = time.monotonic() + grace + PATIENCE
    while (alive := find()) and time.monotonic() < hopeless:
        if number is signal.SIGTERM and time.monotonic() >= until:
            number, told = signal.SIGKILL, set()
        for process in alive:
            if (process.pid, process.began) not in told:
                process.send(number)
        told |= {(p.pid, p.began) for p in alive}
        seen |= told
        time.sleep(TICK)
    return len(seen)


def look(pid: int) -> Process | None:
    """What the kernel says of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
    except OSError:
        return None
    return Process(
        pid, int(fields[1]), int(fields[2]), int(fields[3]), float(fields[19]), zombie=fields[0] in {b"Z", b"X"}
    )


def _all() -> list[Process]:
    with suppress(FileNotFoundError):
        return [p for entry in Path("/proc").iterdir() if entry.name.isdigit() and (p := look(int(entry.name)))]
    return []


def environment_of(pid: int) -> list[bytes]:
    """The environment a process began with, as NAME=VALUE."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def _mark_of(pid: int) -> bytes:
    return next((entry for entry in environment_of(pid) if entry.startswith(f"{MARK}=".encode())), b"")


def _children(pid: int) -> list[Process]:
    try:
        lists = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
        numbers = b" ".join(one.read_bytes() for one in lists).split()
    except OSError:  # gone, or a kernel without this list
        return [p for p in _all() if p.parent == pid] if Path(f"/proc/{pid}").exists() else []
    return [p for number in numbers if (p := look(int(number)))]


def tree(roots: Sequence[int]) -> set[Process]:
    """Processes and all that descend from them."""
    found = {p for pid in roots if (p := look(pid))}
    todo = list(found)
    while todo:
        new = set(_children(todo.pop().pid)) - found
        found |= new
        todo += new
    return found


def orphans_of(is_mine: Callable[[Process], bool]) -> set[Process]:
    """Those who came to us when their parents died, as far as `is_mine`, and their descendants."""
    return tree([p.pid for p in _children(os.getpid()) if is_mine(p)])


STARTING = Lock()
"""Held from a start until it is in `STARTED`, and while others' statuses are taken."""
STARTED: dict[object, int] = {}
"""Processes that we started ourselves and have not waited for yet."""


def reap_orphans(since: float) -> None:
    """Take the exit status of dead orphans that began at `since` or later, so that they do not stay zombies.

    Spared is what shares our session: that may be a worker of ours, started by other means.
    """
    with STARTING:
        ours = set(STARTED.values())
        for process in _children(os.getpid()):
            if (
                process.zombie
                and process.pid not in ours
                and process.session != os.getsid(0)
                and process.began >= since
            ):
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)


def session_of(pid: int) -> list[Process]:
    """The living of a session."""
    return [p for p in _all() if p.session == pid and not p.zombie]


@cache
def adopt_orphans(process: int) -> None:  # noqa: ARG001 - once for each process: a fork does not inherit it
    """Have the kernel give us, instead of init, the orphans among our descendants; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER, prctl(2)
