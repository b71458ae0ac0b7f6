"""One process under way: its pipe, its end, and everything it starts."""

import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from deployguard.process.environment import MARK, Environment, not_started, revealed
from deployguard.process.family import (
    STARTED,
    STARTING,
    Process,
    adopt_orphans,
    end_all,
    environment_of,
    look,
    new_mark,
    orphans_of,
    reap_orphans,
    started,
    tree,
)

DRAIN = 2.0
"""Seconds to read on after the work has ended, and to wait for what was killed."""
TICK = 0.02
"""Seconds between two looks at whether to stop."""
_SMALL_READ, _LARGE_READ = 64 * 1024, 256 * 1024


class Child:
    """A process that was started, its pipe, and everything it starts.

    It stays a zombie until `close`: so neither its number nor its group's can be
    taken by another process while signals are sent.
    """

    def __init__(self, popen: "subprocess.Popen[bytes]", mark: bytes) -> None:
        self.pid = popen.pid
        self.began = started(popen.pid) or 0.0
        self.running = self.reading = True
        self._popen = popen
        self._mark = mark
        self._known: set[tuple[int, float]] = set()
        self._size = _SMALL_READ
        assert popen.stdout is not None, "it was started with a pipe"  # noqa: S101
        self._pipe = popen.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        try:
            self._ended: int | None = os.pidfd_open(self.pid)
            self._poll.register(self._ended, select.POLLIN)
        except (AttributeError, OSError):  # not Linux, or before 5.3: look every tick instead
            self._ended = None

    def wait(self, seconds: float) -> Iterator[bytes]:
        """Wait for output or the end, at most `seconds`; give what was written."""
        if self._ended is None:
            seconds = min(seconds, TICK)
        for fd, _ in self._poll.poll(None if seconds == math.inf else math.ceil(max(0.0, seconds) * 1000)):
            if fd != self._pipe:
                self._end()
            elif data := self._read():
                yield data
        if self._ended is None and self.running and self._is_zombie():
            self.running = False

    def _read(self) -> bytes:
        data = os.read(self._pipe, self._size)
        if not data:
            self.reading = False
            self._poll.unregister(self._pipe)
        elif len(data) == _SMALL_READ:
            self._widen()
        return data

    def _widen(self) -> None:
        """A pipe of the usual 64 KiB is full: it is a flood, and larger reads cost less."""
        self._size = _LARGE_READ
        with suppress(AttributeError, OSError):  # not Linux, or the user's quota of pipe memory is used up
            import fcntl

            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 4 * _LARGE_READ)

    def _end(self) -> None:
        self.running = False
        if self._ended is not None:
            self._poll.unregister(self._ended)

    def _is_zombie(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # SIGCHLD is ignored in this program: the kernel took it away
            return True

    def signal(self, number: int) -> None:
        """Send to its group, and to each descendant that has left the group."""
        others = self._others()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for process in others:
            if process.group != self.pid:
                process.send(number)

    def end_others(self, grace: float) -> int:
        """End whatever it left running; return how many."""
        return end_all(self._others, grace)

    def _others(self) -> list[Process]:
        """Living processes that it started, or that those started."""
        mine = tree([self.pid]) | orphans_of(self._is_mine)
        mine |= {p for pid, began in self._known if (p := look(pid)) and p.began == began}
        alive = [p for p in mine if p.pid != self.pid and not p.zombie]
        self._known |= {(p.pid, p.began) for p in alive}
        return alive

    def _is_mine(self, process: Process) -> bool:
        return process.session == self.pid or self._mark in environment_of(process.pid)

    def close(self, grace: float) -> None:
        """Let go of it; end it first if something went wrong before it had ended."""
        assert self._popen.stdout is not None  # noqa: S101
        self._popen.stdout.close()
        if self.running and not self._is_zombie():
            self.signal(signal.SIGTERM)
            if not self._wait(grace):
                self.signal(signal.SIGKILL)
                self._wait(DRAIN)
        self.end_others(0.0)
        if self._ended is not None:
            os.close(self._ended)
        self._wait(DRAIN)  # one that is stuck in the kernel ends when the kernel lets it
        with STARTING:
            self._popen.poll()
            del STARTED[self]
        reap_orphans(self.began)

    def _wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._is_zombie():
            if time.monotonic() >= until:
                return False
            time.sleep(TICK / 4)
        return True

    def exit_status(self) -> int:
        """After `close`. One that not even KILL has ended counts as killed."""
        return -signal.SIGKILL if self._popen.returncode is None else self._popen.returncode


def start(argv: Sequence[str], cwd: Path, env: Environment) -> Child:
    """Start it, with nothing but this environment, no input, no terminal and no inherited descriptor."""
    adopt_orphans(os.getpid())
    mark = new_mark()
    with STARTING:
        try:
            popen = subprocess.Popen(
                list(argv), cwd=cwd, env={**revealed(env), MARK: mark}, bufsize=0, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except (OSError, ValueError) as error:  # ValueError: a NUL in a word or a value
            raise not_started(argv, cwd, error) from None
        child = Child(popen, f"{MARK}={mark}".encode())
        STARTED[child] = child.pid
    return child
