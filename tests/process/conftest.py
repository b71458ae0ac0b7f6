import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployguard.masking import Masker
from deployguard.process import Result, base_environment, run
from deployguard.secret import Secret

CANARY = "canary-secret-0123456789"


@pytest.fixture
def command(tmp_path) -> Callable[..., Result]:
    """Run a command in an empty folder; keywords go to `run`."""

    def start(*argv, **given) -> Result:
        usual = {"cwd": tmp_path, "env": base_environment(), "timeout": 20.0, "grace": 0.5}
        return run(argv, **{**usual, "masker": Masker([Secret(CANARY, name="canary")]), **given})

    return start


@pytest.fixture
def shell(command) -> Callable[..., Result]:
    return lambda script, **given: command("sh", "-c", script, **given)


@pytest.fixture
def python(command) -> Callable[..., Result]:
    return lambda script, **given: command(sys.executable, "-c", script, **given)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def zombies() -> int:
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
