"""Writes the journals of this release into the corpus: run it once, when a release is made.

    python tests/journal/make_corpus.py

Each case is what a killed deployment left. Later releases must resume it, or refuse it by name.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "engine"))
from projects import Project, e, step  # noqa: E402

CASES = {
    "killed-in-a-step": e.StepStarted,
    "killed-between-steps": e.StepFinished,
    "killed-in-rollback": e.CompensationStarted,
    "killed-before-the-lease": e.RunStarted,
}
"""Name of the case: the event after which the deployment was killed."""


def steps(case):
    last = "exit 1" if case == "killed-in-rollback" else "true"
    return step("one", "true", check="test -e one-is-done"), step("two", idempotent=True), step("three", last)


def make(case, folder):
    project = Project(folder).write(*steps(case))
    child = os.fork()
    if child == 0:
        os.uname = lambda: SimpleNamespace(nodename="host.example")
        project.deploy(observer=_Killer(CASES[case]), actor="ann")
    os.waitpid(child, 0)
    place = HERE / "corpus" / version("deployguard") / case
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("journal.db", "journal.db-wal", "journal.head"):
        shutil.copyfile(folder / ".deployguard" / name, place / name)
    shutil.copyfile(folder / "runbook.yaml", place / "runbook.yaml")


class _Killer:
    def __init__(self, kind):
        self._kind = kind

    def recorded(self, record):
        if isinstance(record.event, self._kind):
            os.kill(os.getpid(), 9)

    def progressed(self, step, progress):
        pass

    def printed(self, step, line):
        pass


if __name__ == "__main__":
    for name in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            make(name, Path(scratch))
    subprocess.run(["git", "add", "--force", HERE / "corpus"], check=True)
