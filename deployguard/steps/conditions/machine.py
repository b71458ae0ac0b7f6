"""What the machine has left: a disk's free space, a program's memory and processor time."""

import os
import shutil
import time
from pathlib import Path

import pydantic

from deployguard.runbook.quantities import Size
from deployguard.steps.base import Context
from deployguard.steps.conditions.base import Condition, Cursor, Look, Observation

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20
_HOUR = 3600.0
_ENOUGH = 0.1
"""Hours from which on a rate is more than chance."""


class Disk(Condition):
    """Free space that must be left where a path stands, and how fast it may go."""

    path: str = "."
    """From the working copy."""
    free: Size
    """Bytes that must stay free."""
    growth: Size | None = None
    """Bytes that may be used in all since the first look."""
    hourly: Size | None = None
    """Bytes an hour that may be used on average since the first look, judged from a tenth of an hour on."""

    def name(self) -> str:
        """The path."""
        return f"disk {self.path}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:
        """Remember how much is free at the first look, to tell the growth."""
        path, clock = context.target.directory / self.path, context.target.clock
        first = dict(cursor or {})

        def look() -> Observation:
            try:
                free = shutil.disk_usage(path).free
            except OSError as error:
                return Observation(False, f"{self.path} cannot be looked at ({type(error).__name__})", first or None)
            now = clock.now().timestamp()
            first.setdefault("free", free)
            # a record of a former version has no time: its growth an hour is told from now on
            first.setdefault("at", now)
            first.setdefault("then", free)
            used, hours = first["free"] - free, (now - first["at"]) / _HOUR
            wrong = [
                *(["too little is free"] if free < self.free else []),
                *(["too much was used"] if self.growth is not None and used > self.growth else []),
                *(["it is used too fast"] if self._too_fast(first["then"] - free, hours) else []),
            ]
            said = f"{free // _MIB} MiB free, {used // _MIB:+d} MiB used since"
            return Observation(not wrong, ", ".join([*wrong, said]), dict(first))

        return look

    def _too_fast(self, used: int, hours: float) -> bool:
        return self.hourly is not None and hours >= _ENOUGH and used / hours > self.hourly


class Process(Condition):
    """Processes of a name (or whose command line holds it), all together, on this machine."""

    program: str
    """What the command line must hold, for example `gunicorn`."""
    memory: Size | None = None
    """Bytes of resident memory that they may have together."""
    cpu: float | None = None
    """Processors that they may use together, on average between two looks: 1.5 is one and a half."""
    running: bool = True
    """Whether at least one must be there."""

    @pydantic.field_validator("program")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("name the program")
        return value

    def name(self) -> str:
        """The program."""
        return f"process {self.program}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:  # noqa: ARG002 - it is this machine's
        """Each look compares processor time with the look before."""
        before = dict(cursor or {})

        def look() -> Observation:
            pids, memory, ticks = _usage(self.program)
            now = time.time()
            used = (ticks - before["ticks"]) / _TICKS / max(now - before["at"], 0.001) if "at" in before else 0.0
            before.update(ticks=ticks, at=now)
            wrong = [
                *(["not running"] if self.running and not pids else []),
                *(["too much memory"] if self.memory is not None and memory > self.memory else []),
                *(["too much processor time"] if self.cpu is not None and used > self.cpu else []),
            ]
            said = f"{pids} processes, {memory // _MIB} MiB, {max(used, 0.0):.2f} processors"
            return Observation(not wrong, ", ".join([*wrong, said]), dict(before))

        return look


def _usage(program: str) -> tuple[int, int, int]:
    """How many, resident bytes, and processor time in ticks. Source: proc(5)."""
    found, memory, ticks = 0, 0, 0
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if program.encode() not in (entry / "cmdline").read_bytes().replace(b"\0", b" "):
                continue
            pages = int((entry / "statm").read_text().split()[1])
            times = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        found, memory, ticks = found + 1, memory + pages * _PAGE, ticks + int(times[11]) + int(times[12])
    return found, memory, ticks
