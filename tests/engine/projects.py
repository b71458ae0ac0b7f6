"""A project with a runbook of shell steps that leave traces: what ran, and how often."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from deployguard.clock import SystemClock
from deployguard.engine.deploy import Session, deploy, latest, resume, undo
from deployguard.engine.plan import Selection, make_plan
from deployguard.engine.stop import Stop
from deployguard.engine.target import make_target
from deployguard.journal import events as e
from deployguard.journal.home import open_home
from deployguard.journal.sqlite import SqliteJournal
from deployguard.journal.state import fold
from deployguard.runbook.load import load_runbook
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds


def step(name, command=None, **keys):
    """A step that writes its name to the trace, runs `command`, and has an undo that writes `undo NAME`."""
    keys = {k.rstrip("_"): v for k, v in keys.items()}
    undo = keys.pop("undo", f"echo 'undo {name}' >> trace")
    text = f"echo {name} >> trace" + (f"; {command}" if command else "")
    rollback = {} if undo is None else {"rollback": {"run": ["/bin/sh", "-eu", "-c", undo]}}
    return {"id": name, "run": ["/bin/sh", "-eu", "-c", text], **rollback, **keys}


@dataclass
class Project:
    """One folder with a runbook; each method is one command of a person, with a journal opened anew."""

    folder: Path
    events: list = field(default_factory=list)

    def write(self, *steps, preflight=(), environment=None, **keys):
        data = {
            "version": 1,
            "name": "test",
            "environments": {"staging": environment or {}},
            "preflight": list(preflight),
            "steps": list(steps),
            **keys,
        }
        (self.folder / "runbook.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return self

    def deploy(self, **given):
        return self._session(deploy, **given)

    def resume(self, **given):
        return self._session(lambda s: resume(s, latest(s.journal, "staging")), **given)

    def rollback(self, to=None, via="decrypt", run=None, **given):
        def work(session):
            before = fold(session.journal.records())[run] if run else latest(session.journal, "staging")
            return undo(session, before, to=to, via=via)

        return self._session(work, **given)

    def _session(
        self, work, *, stop=None, clock=None, selection=None, observer=None, wrap=lambda journal: journal, **given
    ):
        runbook = load_runbook(self.folder / "runbook.yaml", all_kinds(), SOURCES, begins=True)
        plan = make_plan(runbook, "staging", all_kinds(), env=os.environ, selection=selection or Selection())
        target = make_target(plan, open_home(self.folder / ".deployguard"), clock or SystemClock())
        journal = SqliteJournal(target.home.journal)
        try:
            session = Session(plan, target, wrap(journal), stop=stop or Stop(), **given)
            if observer is not None:
                session.observer = observer
            return work(session)
        finally:
            journal.close()

    def records(self):
        journal = SqliteJournal(self.folder / ".deployguard" / "journal.db")
        try:
            return list(journal.records())
        finally:
            journal.close()

    def recorded(self, kind):
        return [r.event for r in self.records() if isinstance(r.event, kind)]

    def trace(self):
        """What ran, in order, as the steps themselves wrote it."""
        path = self.folder / "trace"
        return path.read_text().splitlines() if path.exists() else []

    def append(self, *events):
        """What an engine that was then killed would have left on record."""
        journal = SqliteJournal(self.folder / ".deployguard" / "journal.db")
        run = list(journal.records())[-1].run
        for event in events:
            journal.append(run, event)
        journal.close()

    def kill_after(self, kind, *, step=None):
        """Deploy in a process of its own that dies by SIGKILL right after an event of this kind is durable."""
        script = _KILLED.format(folder=str(self.folder), here=str(Path(__file__).parent), kind=kind.__name__, step=step)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stderr
        return self

    def command(self, *arguments, **given):
        """The real program in a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(
            [sys.executable, "-m", "deployguard", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **given,
        )  # fmt: skip

    def shown(self):
        return json.loads(self.command("show", "--json").stdout)


_KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from projects import Project

class Killer:
    def recorded(self, record):
        if type(record.event).__name__ == {kind!r} and {step!r} in (None, getattr(record.event, "step", None)):
            os.kill(os.getpid(), signal.SIGKILL)
    def progressed(self, step, progress): pass
    def printed(self, step, line): pass

Project(Path({folder!r})).deploy(observer=Killer())
"""


class FrozenClock(SystemClock):
    """Waiting takes no time, but is counted; nothing else does, however slow the machine is."""

    def __init__(self):
        self.slept = []
        self.passed = 0.0

    def monotonic(self):
        return self.passed

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.passed += seconds


def states(run):
    return {name: s.state for name, s in run.steps.items()}


__all__ = ["FrozenClock", "Project", "e", "states", "step"]
