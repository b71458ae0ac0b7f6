"""Rollback is a saga: last step first, each undo on record, none keeps the others from being tried."""

import pytest
from projects import Project, e, states, step

from deployguard.errors import StepFailed, UsageError
from deployguard.steps import KINDS, all_kinds
from deployguard.steps.base import Outcome, Step


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_a_failure_undoes_everything_last_step_first(project):
    run = project.write(step("one"), step("two"), step("three", "exit 1")).deploy()

    assert run.state == "rolled_back"
    assert project.trace() == ["one", "two", "three", "undo three", "undo two", "undo one"]


def test_what_was_not_begun_is_not_undone(project):
    project.write(step("one", if_="false"), step("two", "exit 1"), step("three")).deploy()

    assert project.trace() == ["two", "undo two"]


def test_one_undo_that_fails_does_not_keep_the_others_from_being_done(project):
    project.write(step("one"), step("two", undo="echo cannot; exit 3"), step("three", "exit 1"))

    run = project.deploy()

    assert run.state == "rollback_incomplete"
    assert states(run) == {"one": "compensated", "two": "stuck", "three": "compensated"}
    assert project.trace() == ["one", "two", "three", "undo three", "undo one"]


def test_a_rollback_that_needs_a_person_exits_with_5_and_the_report_says_first_what_is_left(project):
    project.write(step("one", undo="exit 3"), step("two", "exit 1"))

    done = project.command("deploy", "--env", "staging", "--yes")

    assert done.returncode == 5
    report = next((project.folder / "reports").glob("*.md")).read_text()
    assert "one" in report[: report.index("\n## ")]
    assert "by hand" in report or "person" in report


def test_a_second_rollback_does_only_what_is_left(project):
    project.write(step("one"), step("two", undo="echo try >> trace; test -e mended"), step("three", "exit 1"))
    assert project.deploy().state == "rollback_incomplete"
    (project.folder / "mended").touch()

    run = project.rollback()

    assert run.state == "rolled_back"
    assert project.trace() == ["one", "two", "three", "undo three", "try", "undo one", "try"]


def test_rolling_back_twice_is_rolling_back_once(project):
    project.write(step("one"), step("two")).deploy()

    first, second = project.rollback(), project.rollback()

    assert first.state == second.state == "rolled_back"
    assert project.trace() == ["one", "two", "undo two", "undo one"]


def test_rolling_back_to_a_step_keeps_it_and_what_came_before(project):
    project.write(step("one"), step("two"), step("three")).deploy()

    run = project.rollback(to="one")

    assert states(run) == {"one": "succeeded", "two": "compensated", "three": "compensated"}
    assert project.trace() == ["one", "two", "three", "undo three", "undo two"]


def test_rolling_back_to_no_such_step_is_refused_and_nothing_is_recorded(project):
    project.write(step("one")).deploy()
    before = len(project.records())

    with pytest.raises(UsageError, match="there is no step 'nowhere'"):
        project.rollback(to="nowhere")

    assert len(project.records()) == before


def test_an_interrupted_step_is_undone_too(project):
    project.write(step("one"), step("two", "exec sleep 60")).kill_after(e.ProcessStarted, step="two")

    run = project.rollback()

    assert run.state == "rolled_back"
    assert project.trace()[-2:] == ["undo two", "undo one"]


@pytest.mark.parametrize("kind", [e.RollbackStarted, e.CompensationStarted, e.CompensationFinished])
def test_a_rollback_that_was_killed_goes_on_where_it_stopped(project, kind):
    project.write(step("one"), step("two"), step("three", "exit 1")).kill_after(kind)

    run = project.resume()

    assert run.state == "rolled_back"
    undone = [line for line in project.trace() if line.startswith("undo")]
    assert undone == ["undo three", "undo two", "undo one"]


@pytest.mark.parametrize(
    ("environment", "of_step", "state"),
    [
        ("rollback", None, "rolled_back"),
        ("stop", None, "failed"),
        ("rollback", "stop", "failed"),
        ("stop", "rollback", "rolled_back"),
        ("ask", None, "failed"),
    ],
)
def test_what_follows_a_failure_is_said_per_environment_and_per_step(project, environment, of_step, state):
    keys = {"on_failure": of_step} if of_step else {}
    project.write(step("one"), step("two", "exit 1", **keys), environment={"on_failure": environment})

    assert project.deploy().state == state


def test_the_step_that_failed_decides_and_not_one_that_was_allowed_to(project):
    project.write(step("one", "exit 1", continue_on_error=True, on_failure="stop"), step("two", "exit 1"))

    assert project.deploy().state == "rolled_back"


@pytest.mark.parametrize(("answer", "state"), [("rollback", "rolled_back"), ("stop", "failed")])
def test_whoever_is_there_is_asked(project, answer, state):
    project.write(step("one", "exit 1"), environment={"on_failure": "ask"})

    assert project.deploy(ask=lambda _: answer).state == state


class Sweeping(Step):
    """A step whose undo has a second part, after all others are undone; both need a person until allowed."""

    uses = "test.sweeping"
    idempotent = True

    def execute(self, context):
        return self._note(context, "sweeping")

    def compensate(self, context):
        return self._note(context, "undo sweeping")

    def settle(self, context):
        self._note(context, "settle sweeping")
        if (context.target.directory / "blocked").exists():
            raise StepFailed("something is left")

    def _note(self, context, text):
        with (context.target.directory / "trace").open("a") as trace:
            trace.write(text + "\n")
        return Outcome(text)


@pytest.fixture
def sweeping(monkeypatch, project):
    all_kinds.cache_clear()
    monkeypatch.setattr("deployguard.steps.KINDS", {**KINDS, "test.sweeping": Sweeping})
    project.write({"id": "sweep", "uses": "test.sweeping"}, step("last"))
    yield project
    all_kinds.cache_clear()


def test_what_outgoing_code_wrote_meanwhile_is_undone_after_everything_else(sweeping):
    sweeping.deploy()
    sweeping.rollback()
    sweeping.rollback()

    assert sweeping.trace() == ["sweeping", "last", "undo last", "undo sweeping", "settle sweeping"]


def test_a_last_sweep_that_failed_is_repeated_by_the_next_rollback(sweeping):
    sweeping.deploy()
    (sweeping.folder / "blocked").touch()
    assert sweeping.rollback().state == "rollback_incomplete"
    assert sweeping.rollback().state == "rollback_incomplete"
    (sweeping.folder / "blocked").unlink()

    assert sweeping.rollback().state == "rolled_back"
    assert sweeping.trace()[-1] == "settle sweeping"


def test_a_rollback_killed_before_its_last_sweep_makes_it_on_resume(sweeping):
    sweeping.deploy()
    run = sweeping.records()[0].run
    sweeping.append(
        e.RollbackStarted(reason="r", actor="a"),
        e.CompensationStarted(step="last", uses="run", attempt=1), e.CompensationFinished(step="last", summary=""),
        e.CompensationStarted(step="sweep", uses="test.sweeping", attempt=1), e.CompensationFinished(step="sweep", summary=""),
    )  # fmt: skip

    assert sweeping.rollback(run=run).state == "rolled_back"
    assert sweeping.trace() == ["sweeping", "last", "settle sweeping"]
