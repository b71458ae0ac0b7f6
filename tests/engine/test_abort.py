"""A run can be ended where it stands: on record, with what it leaves, and another can begin."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from looking import at_work_in
from projects import Project, e, step

from deployguard.errors import LeaseLost, Refused
from deployguard.journal.sqlite import SqliteJournal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def stopped(project):
    """A run that failed at its second step and stopped."""
    project.write(step("one"), step("two", "exit 1"), step("three"), environment={"on_failure": "stop"})
    return project, project.deploy().id


def abort(project, *arguments):
    return project.command("abort", "staging", "--yes", *arguments)


def test_it_ends_the_run_and_lists_what_is_still_in_place(stopped):
    project, run = stopped

    done = abort(project, "--why", "not this week")

    assert done.returncode == 5, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines() if "in place  " in line] == ["one", "two"]
    assert f"deployguard rollback {run}" in done.stdout
    [*_, finished] = project.recorded(e.RunFinished)
    assert finished.state == "aborted"
    assert finished.reason.endswith(": not this week")
    assert project.trace() == ["one", "two"]


def test_where_nothing_was_done_nothing_is_left(project):
    project.write(step("one"), environment={"requires": {"approvals": 1}})
    assert project.deploy().state == "waiting"

    done = abort(project, "--json")

    assert done.returncode == 0
    run = json.loads(done.stdout)
    assert (run["state"], run["in_place"], run["waiting_for"]) == ("aborted", [], [])


def test_another_run_can_begin_and_this_one_cannot_go_on(stopped):
    project, run = stopped
    with pytest.raises(Refused, match="unfinished") as caught:
        project.deploy()
    assert f"deployguard abort {run}" in caught.value.hint

    abort(project)

    assert project.command("deploy", "--resume", "--env", "staging").returncode == 2
    assert project.deploy().id != run


def test_it_can_still_be_rolled_back(stopped):
    project, _ = stopped
    abort(project)

    assert project.rollback().state == "rolled_back"
    assert project.trace() == ["one", "two", "undo two", "undo one"]


def test_the_report_says_first_what_is_in_place(stopped):
    project, run = stopped
    abort(project, "--why", "not this week")

    report = project.command("report").stdout

    first = report[: report.index("\n## ")]
    assert "**Aborted.**" in first
    assert "not this week" in first
    assert "What it had done is still in place: `one`, `two`." in first
    assert f"`deployguard rollback {run}`" in report


@pytest.mark.parametrize("ended", ["succeeded", "aborted"])
def test_what_has_ended_is_not_ended_again(project, ended):
    project.write(step("one", "true" if ended == "succeeded" else "false"), environment={"on_failure": "stop"})
    project.deploy()
    if ended == "aborted":
        abort(project)
    events = len(project.records())

    done = abort(project)

    assert done.returncode == 2
    assert f"has ended already: {ended}" in done.stderr
    assert len(project.records()) == events


def test_without_a_yes_nothing_is_ended(stopped):
    project, _ = stopped

    done = project.command("abort", "staging")

    assert done.returncode == 3
    assert project.recorded(e.RunFinished)[-1].state == "failed"


def test_a_run_that_a_process_carries_on_is_not_ended_under_it(project):
    project.write(step("one", "while [ ! -e go ]; do sleep 0.02; done"))
    process = subprocess.Popen(
        [sys.executable, "-m", "deployguard", "deploy", "--yes"], cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    while not project.trace():
        assert process.poll() is None
        time.sleep(0.02)

    done = abort(project)

    assert done.returncode == 6
    assert f"process {process.pid} on " in done.stderr
    (project.folder / "go").touch()
    assert process.wait(60) == 0


def test_what_a_killed_engine_left_running_is_ended_and_its_lease_is_over(project):
    project.write(step("one", "exec sleep 60")).kill_after(e.ProcessStarted)
    assert at_work_in(project.folder)
    old = project.recorded(e.LeaseTaken)[-1].fence

    done = abort(project)

    assert done.returncode == 5, done.stderr
    assert not at_work_in(project.folder)
    assert [i.step for i in project.recorded(e.StepInterrupted)] == ["one"]
    journal = SqliteJournal(project.folder / ".deployguard" / "journal.db")
    with pytest.raises(LeaseLost):
        journal.append(project.records()[0].run, e.StepSkipped(step="one", reason="too late"), fence=old)
    journal.close()


def test_neither_runbook_nor_secrets_are_needed(project):
    project.write(
        step("one", "exit 1", env={"KEY": "${{ secrets.key }}"}), secrets={"key": {"from": "env", "name": "NOT_SET"}},
        environment={"on_failure": "stop", "database": "${{ env.NOT_SET_EITHER | default('sqlite:///gone.db') }}"},
    )  # fmt: skip
    project.deploy()
    (project.folder / "runbook.yaml").unlink()

    assert abort(project).returncode == 0


def test_nobody_approves_or_watches_a_run_that_was_ended(project):
    project.write(step("one"), environment={"requires": {"approvals": 1}})
    run = project.deploy().id
    abort(project)

    assert project.command("approve", run, "--yes").returncode == 2
    assert project.command("watch", "--once").returncode == 0
