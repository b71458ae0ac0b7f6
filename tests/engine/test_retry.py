"""A failed attempt is followed by another only where the runbook says so and that does no harm."""

from itertools import pairwise

import pytest
from projects import FrozenClock, Project, e, states, step

from deployguard.engine.observe import Nobody
from deployguard.errors import RunbookError

FAILS_TWICE = 'test "$(wc -l < trace)" -ge 3'


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def retried(command, /, *, idempotent=True, **policy):
    return step("one", command, idempotent=idempotent, retry={"attempts": 5, "delay": "1ms", **policy})


def failures(project):
    return [(f.attempt, f.final) for f in project.recorded(e.StepFailed)]


def test_a_step_is_tried_again_and_each_attempt_is_on_record(project):
    run = project.write(retried(FAILS_TWICE)).deploy()

    assert run.state == "succeeded"
    assert project.trace() == ["one"] * 3
    assert [s.attempt for s in project.recorded(e.StepStarted)] == [1, 2, 3]
    assert failures(project) == [(1, False), (2, False)]


def test_the_last_attempts_failure_is_the_steps(project):
    run = project.write(retried("exit 7", attempts=3)).deploy()

    assert run.state == "rolled_back"
    assert failures(project) == [(1, False), (2, False), (3, True)]


def test_a_step_that_may_do_harm_twice_is_not_retried(project):
    with pytest.raises(RunbookError, match="tried again after a failure but is not idempotent"):
        project.write(retried("true", idempotent=False)).deploy()


@pytest.mark.parametrize(
    ("rule", "command", "again"),
    [
        ("exit:75", "exit 75", True),
        ("exit:75", "exit 7", False),
        ("pattern:try .* later", "echo please try again later >&2; exit 1", True),
        ("pattern:try .* later", "echo no >&2; exit 1", False),
        ("timeout", "exit 1", False),
        ("connection", "exit 1", False),
    ],
)
def test_only_the_failures_that_are_named_are_retried(project, rule, command, again):
    project.write(retried(f"{FAILS_TWICE} || {{ {command}; }}", retry_on=[rule]))

    run = project.deploy()

    assert run.state == ("succeeded" if again else "rolled_back")
    assert failures(project) == ([(1, False), (2, False)] if again else [(1, True)])


def test_each_attempt_has_the_steps_whole_time(project):
    command = f"if {FAILS_TWICE}; then sleep 0.4; else sleep 60; fi"
    project.write({**retried(command, retry_on=["timeout"]), "timeout": "800ms"})

    run = project.deploy()

    assert run.state == "succeeded"
    assert all("not done in time" in f.error for f in project.recorded(e.StepFailed))


def test_waits_double_with_jitter_up_to_a_cap(project):
    clock, begun = FrozenClock(), []

    class Noting(Nobody):
        def recorded(self, record):
            if isinstance(record.event, e.StepStarted):
                begun.append(clock.passed)

    project.write(retried("exit 1", attempts=6, delay="10s", max_delay="50s")).deploy(clock=clock, observer=Noting())

    waits = [after - before for before, after in pairwise(begun)]
    assert all(most / 2 - 1e-6 <= w <= most + 1e-6 for w, most in zip(waits, [10, 20, 40, 50, 50], strict=True))
    assert len(set(waits)) == 5


def test_no_attempt_begins_after_the_total_time(project):
    clock = FrozenClock()

    run = project.write(retried("exit 1", attempts=100, backoff="fixed", delay="10s", total="35s")).deploy(clock=clock)

    assert run.state == "rolled_back"
    assert failures(project) == [(1, False), (2, False), (3, False), (4, True)]
    assert sum(clock.slept) == pytest.approx(30, abs=0.1)


def test_what_was_refused_is_not_tried_again(project):
    project.write(
        {"id": "one", "uses": "git.update", "with": {}, "retry": {"attempts": 3, "delay": "1ms"}},
        code={"branch": "main"},
    )

    run = project.deploy()

    assert states(run) == {"one": "failed"}
    assert len(project.recorded(e.StepFailed)) == 1


def test_an_undo_is_tried_again_by_the_steps_policy(project):
    project.write(
        {**retried("true", attempts=4), "rollback": {"run": ["/bin/sh", "-c", f"echo undo >> trace; {FAILS_TWICE}"]}},
        step("two", "exit 1"),
    )

    run = project.deploy()

    assert run.state == "rolled_back"
    assert project.trace() == ["one", "two", "undo two", "undo"]
    assert len(project.recorded(e.CompensationFailed)) == 0


def test_a_run_killed_between_two_attempts_goes_on_with_the_next(project):
    project.write(retried(FAILS_TWICE)).kill_after(e.StepFailed)

    run = project.resume()

    assert run.state == "succeeded"
    assert project.trace() == ["one"] * 3
    assert [s.attempt for s in project.recorded(e.StepStarted)] == [1, 2, 3]
