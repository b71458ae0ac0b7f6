"""After any end, `deploy --resume` goes on, or says what a person must decide."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from looking import at_work_in
from projects import Project, e, states, step

from deployguard.engine.stop import Stop
from deployguard.errors import NeedsPerson, UsageError

DISK = {"uses": "disk.space", "with": {"at_least": "1 B"}}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_finished_steps_are_not_run_again(project):
    project.write(step("one"), step("two"), step("three")).kill_after(e.StepFinished, step="two")

    run = project.resume()

    assert run.state == "succeeded"
    assert project.trace() == ["one", "two", "three"]


def test_an_interrupted_step_that_is_idempotent_runs_again(project):
    project.write(step("one", idempotent=True)).kill_after(e.StepStarted)

    run = project.resume()

    assert run.state == "succeeded"
    assert [i.reason for i in project.recorded(e.StepInterrupted)] == [
        "found unfinished: the process that ran it is gone"
    ]


@pytest.mark.parametrize(("done", "trace"), [(True, []), (False, ["one"])])
def test_an_interrupted_step_with_a_check_is_probed(project, done, trace):
    project.write(step("one", check="test -e done")).kill_after(e.StepStarted)
    if done:
        (project.folder / "done").touch()

    run = project.resume()

    assert states(run) == {"one": "succeeded"}
    assert project.trace() == trace


def test_any_other_interrupted_step_is_asked_about_with_the_exact_command(project):
    project.write(step("one")).kill_after(e.StepStarted)

    with pytest.raises(NeedsPerson) as caught:
        project.resume()

    assert caught.value.exit_code == 5
    assert "deployguard deploy --resume --env staging --decide one=done" in caught.value.hint
    assert project.trace() == []


@pytest.mark.parametrize("asked_before", [True, False], ids=["after the question", "at once"])
@pytest.mark.parametrize(
    ("decision", "state", "trace"),
    [("done", "succeeded", ["two"]), ("skip", "skipped", ["two"]), ("retry", "succeeded", ["one", "two"])],
)
def test_a_persons_decision_is_carried_out_and_on_record(project, decision, state, trace, asked_before):
    project.write(step("one"), step("two")).kill_after(e.StepStarted)
    if asked_before:
        with pytest.raises(NeedsPerson):
            project.resume()

    run = project.resume(decisions={"one": decision}, why="I looked", actor="ann")

    assert run.state == "succeeded"
    assert states(run)["one"] == state
    assert project.trace() == trace
    assert project.recorded(e.DecisionTaken) == [
        e.DecisionTaken(step="one", decision=decision, who="ann", why="I looked")
    ]


@pytest.mark.parametrize("step_id", ["nowhere", "two"], ids=["unknown", "nothing to decide"])
def test_a_decision_about_a_step_that_needs_none_is_refused(project, step_id):
    project.write(step("one"), step("two")).kill_after(e.StepStarted)

    with pytest.raises(UsageError, match=f"--decide {step_id}"):
        project.resume(decisions={step_id: "done"})

    assert project.recorded(e.DecisionTaken) == []


def test_a_run_killed_during_its_checks_makes_all_of_them_again(project):
    project.write(step("one"), preflight=[DISK]).kill_after(e.CheckFinished)

    run = project.resume()

    assert run.state == "succeeded"
    assert len(project.recorded(e.CheckFinished)) == 2
    assert len(run.checks) == 1
    kinds = [type(r.event).__name__ for r in project.records()]
    assert kinds.index("RunResumed") < kinds.index("LeaseTaken") < kinds.index("StepStarted")


def test_a_check_that_says_no_on_resume_refuses_the_run(project):
    project.write(step("one"), preflight=[{"uses": "git.clean"}]).kill_after(e.RunStarted)

    run = project.resume()

    assert run.state == "refused"
    assert project.trace() == []


def test_asked_to_stop_during_the_checks_the_run_ends_as_interrupted(project):
    stop = Stop()
    stop.request()

    run = project.write(step("one"), preflight=[DISK]).deploy(stop=stop)

    assert run.state == "interrupted"
    assert project.resume().state == "succeeded"
    assert project.trace() == ["one"]


def test_a_step_that_was_allowed_to_fail_is_not_run_again(project):
    project.write(step("one", "exit 1", continue_on_error=True), step("two"), step("three")).kill_after(
        e.StepFinished, step="two"
    )

    run = project.resume()

    assert states(run) == {"one": "failed", "two": "succeeded", "three": "succeeded"}
    assert project.trace() == ["one", "two", "three"]


def test_a_failed_step_is_tried_again_on_resume(project):
    project.write(step("one", "test -e mended"), step("two"), environment={"on_failure": "stop"})
    assert project.deploy().state == "failed"
    (project.folder / "mended").touch()

    run = project.resume()

    assert run.state == "succeeded"
    assert project.trace() == ["one", "one", "two"]


def test_what_the_undo_needs_is_captured_once_before_the_first_attempt(project):
    project.write(step("one", idempotent=True)).kill_after(e.StepStarted)
    project.resume()

    first, second = project.recorded(e.StepStarted)

    assert first.before == second.before


@pytest.mark.parametrize("known", [True, False], ids=["on record", "not yet on record"])
def test_what_a_killed_engine_left_running_is_ended_before_anything_runs_again(project, known):
    work = "mkdir begun && sleep 60; echo too late >> trace"  # the second time it does not sleep
    project.write(step("one", work, idempotent=True, if_="true"), step("two"))
    _kill_with_a_child_running(project, known=known)
    while not (project.folder / "begun").exists():
        assert at_work_in(project.folder)
        time.sleep(0.01)
    project.write(step("one", work, idempotent=True, if_="true"), step("two"))
    assert at_work_in(project.folder)
    begun = time.monotonic()

    run = project.resume()

    assert run.state == "succeeded"
    assert time.monotonic() - begun < 15
    assert project.trace() == ["one", "one", "too late", "two"]
    assert not at_work_in(project.folder)


def _kill_with_a_child_running(project, *, known):
    if known:
        project.kill_after(e.ProcessStarted)
        return
    # it dies between the start of its child and the record of it
    script = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from projects import Project, e
class Dying:
    def __init__(self, journal): self._journal = journal
    def __getattr__(self, name): return getattr(self._journal, name)
    def append(self, run, event, fence=None):
        if isinstance(event, e.ProcessStarted):
            while not Path({str(project.folder / "trace")!r}).exists(): time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return self._journal.append(run, event, fence=fence)
Project(Path({str(project.folder)!r})).deploy(wrap=Dying)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
