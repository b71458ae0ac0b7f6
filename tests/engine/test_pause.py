"""A run can be made to hold still and go on, by whom and why is on record, and no deadline runs meanwhile."""

from types import SimpleNamespace

import pytest
from projects import Project, e, step

from deployguard.engine.pause import let_go, pause, pause_file, paused
from deployguard.engine.stop import Stop
from deployguard.errors import UsageError
from deployguard.journal.home import open_home
from deployguard.steps.base import Outcome, Progress, Step


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("deployguard.engine.execute.LOOK", 0.05)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


class Person:
    """Pauses the run when a step begins, and lets it go on after so many looks."""

    def __init__(self, project, step="one", looks=3):
        self.project, self.home = project, open_home(project.folder / ".deployguard")
        self.step, self.looks, self.seen, self.run = step, looks, [], ""

    def recorded(self, record):
        self.run = record.run
        if isinstance(record.event, e.StepStarted) and record.event.step == self.step:
            pause(self.home, record.run, who="ada", why="the shop is busy")

    def progressed(self, step, progress):
        if progress.label == "paused":
            self.seen.append((step, progress.note, self.project.trace()))
            if len(self.seen) == self.looks:
                let_go(self.home, self.run, who="grace")

    def printed(self, step, line): ...


def decisions(project):
    return [(d.step, d.decision, d.who, d.why) for d in project.recorded(e.DecisionTaken)]


def test_it_holds_before_the_next_step_and_goes_on(project):
    project.write(step("one"), step("two"))
    person = Person(project)

    run = project.deploy(observer=person)

    assert run.state == "succeeded"
    assert [(where, done) for where, _, done in person.seen] == [("two", ["one"])] * 3
    assert f"deployguard pause {run.id} --end" in person.seen[0][1]
    assert project.trace() == ["one", "two"]
    assert decisions(project) == [("two", "pause", "ada", "the shop is busy"), ("two", "go on", "grace", "")]
    assert not pause_file(person.home, run.id).exists()


def test_a_rollback_holds_too(project):
    project.write(step("one"), step("two", "exit 1"))
    person = Person(project, step="two")

    assert project.deploy(observer=person).state == "rolled_back"

    assert [where for where, *_ in person.seen] == ["two"] * 3
    assert person.seen[0][2] == ["one", "two"]
    assert project.trace() == ["one", "two", "undo two", "undo one"]


def test_it_can_be_ended_while_nobody_is_at_work(project):
    project.write(step("one"), step("two", "exit 1"), environment={"on_failure": "stop"})
    run = project.deploy().id

    assert project.command("pause", run, "--why", "tomorrow").returncode == 0
    assert project.command("pause", run, "--end").returncode == 0

    project.resume()
    assert decisions(project) == []


def test_whoever_is_stopped_while_the_run_is_paused_finds_it_paused_again(project):
    project.write(step("one"), step("two"), environment={"on_failure": "stop"})
    stop = Stop()
    person = Person(project, looks=99)
    person.progressed = lambda _, progress: stop.request() if progress.label == "paused" else None

    assert project.deploy(observer=person, stop=stop).state == "interrupted"

    again = Person(project, step="none", looks=1)
    again.run = person.run
    assert project.resume(observer=again).state == "succeeded"
    assert [where for where, *_ in again.seen] == ["two"]


def test_the_time_does_not_count_against_a_steps_timeout(project, monkeypatch):
    passed = 0.0  # by sleeping alone: a slow machine has no part in it

    def sleep(seconds):
        nonlocal passed
        passed += seconds

    class Pulsing(Step):
        uses = "test.pulsing"
        idempotent = True

        def execute(self, context):
            for number in range(4):
                context.pulse(Progress("working", number))
                sleep(0.05)
            return Outcome("done")

    monkeypatch.setattr("deployguard.engine.execute.time", SimpleNamespace(monotonic=lambda: passed, sleep=sleep))
    monkeypatch.setattr("projects.all_kinds", lambda: {"test.pulsing": Pulsing})
    project.write({"id": "one", "uses": "test.pulsing", "timeout": "400ms"})

    assert project.deploy(observer=Person(project, looks=12)).state == "succeeded"


def test_a_file_that_somebody_has_made_by_hand_pauses_too(tmp_path):
    (tmp_path / "pause").touch()

    assert paused(tmp_path / "pause").who == "a file"


@pytest.mark.parametrize("arguments", [["nonsense"], ["nonsense", "--end"]])
def test_a_run_that_is_not_there_is_named(project, arguments):
    project.write(step("one")).deploy()

    done = project.command("pause", *arguments)

    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize("end", [[], ["--end"]])
def test_what_has_ended_cannot_be_paused(project, end):
    run = project.write(step("one")).deploy().id

    done = project.command("pause", run, *end)

    assert done.returncode == 2
    assert "has ended already: succeeded" in done.stderr


def test_what_is_not_paused_cannot_be_let_go(project):
    home = open_home(project.folder / ".deployguard")

    with pytest.raises(UsageError, match="is not paused"):
        let_go(home, "r", who="ada")
