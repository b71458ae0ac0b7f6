"""What tests of processes look at: who lives, what is open, what was written."""

import os
import time
from contextlib import suppress
from pathlib import Path

CANARY = "canary-secret-0123456789"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def at_work_in(folder: Path) -> list[Path]:
    """Processes whose working folder it is."""
    return [entry for entry in Path("/proc").glob("[0-9]*/cwd") if _leads_to(entry, folder)]


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:
        return False


def zombies(since: float) -> int:
    """Children of this process that began at `since` (of `ticks`) or later, have ended and wait to be noticed."""
    while True:
        # of a thread that ends meanwhile another gets the children: they are looked for anew
        with suppress(FileNotFoundError, ProcessLookupError):
            lists = [(task / "children").read_text().split() for task in Path("/proc/self/task").iterdir()]
            return sum(_began(pid) >= since and not alive(int(pid)) for pids in lists for pid in pids)


def ticks() -> float:
    """Now, as the kernel says when a process began. What earlier tests have left began before it, and may still end."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK") // 1


def _began(pid: str) -> float:
    return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def descriptors() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the list itself, and what another thread closes meanwhile
            found.add(f"{entry.name} {entry.readlink()}")
    return found


def wait_for(path: Path, seconds: float = 60.0) -> str:
    """The text of a file, once something stands in it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {path}")
