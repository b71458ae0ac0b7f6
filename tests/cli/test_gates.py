"""A run that waits for a person or a time ends, keeps its place, and goes on when it is asked again."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

RUNBOOK = """
version: 1
name: careful
environments:
  production: { on_failure: rollback, requires: { approvals: 1, approvers: [grace, linus] } }
steps:
  - id: first
    run: [sh, -c, "echo done >> work.txt"]
    idempotent: true
    rollback: { run: [rm, work.txt] }
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    return tmp_path


@pytest.fixture
def deployguard(project):
    """The command, as one person or another; root behind sudo is who sudo says."""
    if os.getuid() != 0:
        pytest.skip("only root can be several people here")

    def run(*arguments, person="ada"):
        done = subprocess.run(
            [sys.executable, "-m", "deployguard", *arguments, "--json"],
            cwd=project, env={"PATH": os.environ["PATH"], "SUDO_USER": person},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    return run


def test_a_run_waits_for_an_approval_and_goes_on_with_it(deployguard, project):
    code, waiting = deployguard("deploy", "--yes")

    assert code == 4
    assert waiting["state"] == "waiting"
    assert [w["step"] for w in waiting["waiting_for"]] == ["required-approval"]
    assert not (project / "work.txt").exists()

    assert deployguard("approve", waiting["run"], "--yes", "--why", "seen in staging", person="grace")[0] == 0
    code, done = deployguard("deploy", "--resume")

    assert (code, done["state"]) == (0, "succeeded")
    assert (project / "work.txt").read_text() == "done\n"
    assert "approved by grace" in (project / f"reports/{done['run']}.md").read_text()


@pytest.mark.parametrize("person", ["ada", "mallory"])
def test_neither_the_starter_nor_a_stranger_can_approve(deployguard, project, person):
    run = deployguard("deploy", "--yes")[1]["run"]

    deployguard("approve", run, "--yes", person=person)

    assert deployguard("deploy", "--resume")[0] == 4
    assert not (project / "work.txt").exists()


def test_who_said_no_is_heard(deployguard, project):
    run = deployguard("deploy", "--yes")[1]["run"]

    deployguard("reject", run, "--yes", "--why", "not on a Friday", person="linus")
    code, ended = deployguard("deploy", "--resume")

    assert (code, ended["state"]) == (1, "rolled_back")
    assert "rejected by linus: not on a Friday" in ended["reason"]


def test_an_approval_of_another_plan_does_not_count(deployguard, project):
    run = deployguard("deploy", "--yes")[1]["run"]
    deployguard("approve", run, "--yes", person="grace")
    (project / "runbook.yaml").write_text(RUNBOOK.replace("echo done", "echo something else"))

    assert deployguard("deploy", "--resume")[0] == 3
    assert deployguard("deploy", "--resume", "--accept-plan")[0] == 4


def test_a_gate_can_be_passed_over_with_a_reason_that_the_report_shows(deployguard, project):
    deployguard("deploy", "--yes")

    assert deployguard("deploy", "--resume", "--decide", "required-approval=skip")[0] == 2
    code, done = deployguard(
        "deploy", "--resume", "--decide", "required-approval=skip", "--why", "the site is on fire", person="linus"
    )

    assert code == 0
    report = (project / f"reports/{done['run']}.md").read_text()
    assert "the site is on fire" in report[: report.index("## Timeline")]


@pytest.mark.parametrize("decision", ["skip", "done"])
def test_a_no_is_not_passed_over_without_a_reason_either(deployguard, project, decision):
    (project / "runbook.yaml").write_text(RUNBOOK.replace("on_failure: rollback", "on_failure: stop"))
    run = deployguard("deploy", "--yes")[1]["run"]
    deployguard("reject", run, "--yes", "--why", "not on a Friday", person="linus")
    assert deployguard("deploy", "--resume")[1]["state"] == "failed"

    code, said = deployguard("deploy", "--resume", "--decide", f"required-approval={decision}")
    assert (code, said["error"]["message"]) == (
        2, f"--decide required-approval={decision} passes over a gate: that needs a reason"
    )  # fmt: skip
    assert not (project / "work.txt").exists()

    code, done = deployguard("deploy", "--resume", "--decide", f"required-approval={decision}", "--why", "it burns")
    assert (code, done["state"]) == (0, "succeeded")
    report = (project / f"reports/{done['run']}.md").read_text()
    assert "it burns" in report[: report.index("## Timeline")]


LEFT_OUT = [("--only", "first"), ("--from", "first"), ("--skip", "queue")]


@pytest.mark.parametrize("words", LEFT_OUT)
def test_what_an_environment_requires_is_left_out_by_no_selection(deployguard, project, words):
    queue = "steps:\n  - { id: queue, uses: gate.command, with: { command: ['true'] } }"
    (project / "runbook.yaml").write_text(RUNBOOK.replace("steps:", queue))

    code, waiting = deployguard("deploy", "--yes", *words, "--why", "only this")

    assert code == 4
    assert [w["step"] for w in waiting["waiting_for"]] == ["required-approval"]
    assert not (project / "work.txt").exists()
    deployguard("approve", waiting["run"], "--yes", person="grace")
    assert deployguard("deploy", "--resume")[0] == 0


def test_a_gate_that_an_environment_requires_cannot_be_skipped_beforehand(deployguard, project):
    code, said = deployguard("deploy", "--yes", "--skip", "required-approval", "--why", "it burns")

    assert code == 2
    assert said["error"]["message"] == "--skip required-approval: production requires it"
    assert "--decide required-approval=skip --why" in said["error"]["hint"]


@pytest.mark.parametrize("words", LEFT_OUT)
def test_a_gate_of_the_runbook_is_left_out_only_with_a_reason_that_the_report_shows(deployguard, project, words):
    text = RUNBOOK.replace(", requires: { approvals: 1, approvers: [grace, linus] }", "")
    text = text.replace("steps:", "steps:\n  - { id: queue, uses: gate.command, with: { command: ['false'] } }")
    (project / "runbook.yaml").write_text(text)

    code, said = deployguard("deploy", "--yes", *words)
    assert (code, said["error"]["message"]) == (2, "this leaves out queue: to pass over a gate needs a reason")
    assert not (project / "work.txt").exists()
    assert deployguard("deploy", "--dry-run", *words)[0] == 0

    code, done = deployguard("deploy", "--yes", *words, "--why", "the queue is gone")
    assert (code, done["state"]) == (0, "succeeded")
    report = (project / f"reports/{done['run']}.md").read_text()
    assert "Reason given: the queue is gone" in report[: report.index("## Timeline")]


def test_there_is_nothing_to_approve_where_nothing_waits(deployguard):
    run = deployguard("deploy", "--yes")[1]["run"]

    assert deployguard("approve", run, "nonsense", "--yes", person="grace")[0] == 2
    assert deployguard("approve", "production-1999", "--yes", person="grace")[0] == 2


def test_a_window_says_when_it_opens(deployguard, project):
    later = datetime.now(UTC) + timedelta(days=2)
    window = f"{later:%a} 10:00-11:00 UTC"
    (project / "runbook.yaml").write_text(
        RUNBOOK.replace("{ approvals: 1, approvers: [grace, linus] }", f'{{ window: "{window}" }}')
    )

    code, waiting = deployguard("deploy", "--yes")

    assert code == 4
    assert waiting["waiting_for"][0]["until"] == f"{later:%Y-%m-%d}T10:00:00Z"
