"""Asked to stop, hung up on, or unheard: a run stops at a safe point or goes on, and always says which by its exit code."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import Project, e, step

ROOT = Path(__file__).parents[2]
DEPLOY = (sys.executable, "-m", "deployguard", "deploy", "--env", "staging", "--yes")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def started(project):
    """A deployment under way in a process of its own, in the middle of its first step."""
    processes = []

    def start(*steps, **given):
        project.write(*steps, environment={"on_failure": "stop"})
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **given,
        }
        process = subprocess.Popen(DEPLOY, cwd=project.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, **options)
        processes.append(process)
        _until(project.trace, process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in filter(None, (process.stdout, process.stderr)):
            stream.close()


def _until(ready, process=None, seconds=30):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)


def waits_for(name):
    """A step's work: go on when a file is there."""
    return f"while [ ! -e {name} ]; do sleep 0.02; done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_once_it_stops_at_the_next_safe_point_and_can_be_resumed(project, started, number):
    process = started(step("one", waits_for("go")), step("two"))

    process.send_signal(number)
    time.sleep(0.3)
    (project.folder / "go").touch()
    out, err = process.communicate(timeout=30)

    assert process.returncode == 7, err
    assert "stopping at the next safe point" in out
    assert f"stopped at a safe point after {number.name}" in out
    assert project.recorded(e.RunFinished)[-1].state == "interrupted"
    assert project.trace() == ["one"]
    assert project.resume().state == "succeeded"
    assert project.trace() == ["one", "two"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_twice_it_ends_the_command_at_once(project, started, number):
    process = started(step("one", waits_for("never"), idempotent=True), step("two"))
    begun = time.monotonic()

    process.send_signal(number)
    # of two that are sent before the first was taken the kernel delivers one
    assert any("stopping at the next safe point" in line for line in process.stdout)
    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode == 7
    assert time.monotonic() - begun < 15
    assert [i.step for i in project.recorded(e.StepInterrupted)] == ["one"]
    assert project.recorded(e.RunFinished)[-1].state == "interrupted"


def test_asked_in_the_last_step_it_is_done(project, started):
    process = started(step("one", waits_for("go")))

    process.send_signal(signal.SIGTERM)
    (project.folder / "go").touch()
    process.communicate(timeout=30)

    assert process.returncode == 0
    assert project.recorded(e.RunFinished)[-1].state == "succeeded"


@pytest.mark.parametrize(("ending", "code"), [("true", 0), ("false", 5)])
def test_nobody_reads_the_output_any_more_and_the_exit_code_is_what_it_would_have_been(project, started, ending, code):
    reading, writing = os.pipe()
    process = started(step("one", f"{waits_for('go')}; {ending}"), step("two"), stdout=writing, stderr=writing)
    os.close(writing)

    os.close(reading)
    (project.folder / "go").touch()

    assert process.wait(timeout=30) == code
    assert project.trace() == (["one", "two"] if code == 0 else ["one"])


def test_the_terminal_goes_away_and_the_run_stops_at_a_safe_point(project, started):
    ours, theirs = pty.openpty()
    process = started(
        step("one", waits_for("go")), step("two"), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: _take_terminal(theirs),
    )  # fmt: skip
    os.close(theirs)

    os.close(ours)
    time.sleep(0.3)
    (project.folder / "go").touch()

    assert process.wait(timeout=30) == 7
    assert project.recorded(e.RunFinished)[-1].state == "interrupted"
    assert project.resume().state == "succeeded"


def _take_terminal(fd):
    import fcntl
    import termios

    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("stdin", ["closed", "empty"])
def test_without_a_terminal_no_question_is_waited_for(project, stdin):
    project.write(step("one"))
    given = {"stdin": subprocess.DEVNULL} if stdin == "empty" else {"preexec_fn": lambda: os.close(0)}
    command = DEPLOY[:-1]

    done = subprocess.run(
        command, cwd=project.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30,
        check=False, **given,
    )  # fmt: skip

    assert done.returncode == 3, done.stderr
    assert "nobody said yes" in done.stderr
    assert project.trace() == []


def test_a_decision_is_not_waited_for_either_but_named_with_its_command(project):
    project.write(step("one")).kill_after(e.StepStarted)

    done = project.command("deploy", "--resume", "--env", "staging", timeout=30)

    assert done.returncode == 5
    assert "--decide one=done" in done.stderr
    assert "Traceback" not in done.stderr


def test_killed_by_quit_it_is_resumed_like_after_any_death(project, started):
    process = started(step("one", waits_for("go"), idempotent=True), step("two"))

    process.send_signal(signal.SIGQUIT)
    process.wait(timeout=30)
    (project.folder / "go").touch()

    assert process.returncode == -signal.SIGQUIT
    assert project.resume().state == "succeeded"
    assert project.trace() == ["one", "one", "two"]
