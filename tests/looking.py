"""What tests of processes look at: who lives, what is open, what was written."""

import time
from pathlib import Path

CANARY = "canary-secret-0123456789"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def zombies() -> int:
    """Children of this process that have ended and wait to be noticed, those of other tests included."""
    states = []
    for task in Path("/proc/self/task").iterdir():
        states += [not alive(int(pid)) for pid in (task / "children").read_text().split()]
    return sum(states)


def descriptors() -> set[str]:
    return {f"{entry.name} {entry.readlink()}" for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


def wait_for(path: Path, seconds: float = 10.0) -> str:
    """The text of a file, once something stands in it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {path}")
