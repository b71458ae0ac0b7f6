"""Watching for a day without a process: each visit looks once, and all of them are one record."""

import json
import os
import subprocess
import sys
import time

import pytest

RUNBOOK = """
version: 1
name: watched
environments: { production: { on_failure: stop } }
steps:
  - id: monitor
    uses: monitor
    with:
      for: 3s
      every: 1s
      visits: true
      conditions:
        - log: { file: app.log, absent: "InvalidToken" }
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    (tmp_path / "app.log").write_text("InvalidToken from before\n")
    return tmp_path


@pytest.fixture
def deployguard(project):
    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "deployguard", *arguments, "--json"],
            cwd=project, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)

    return run


def test_visits_make_one_watch(deployguard, project):
    # long enough for several visits, however slowly they start on a busy machine
    (project / "runbook.yaml").write_text(RUNBOOK.replace("for: 3s", "for: 12s"))
    code, waiting = deployguard("deploy", "--yes")
    assert code == 4
    assert waiting["waiting_for"][0]["until"]

    codes = []
    while code == 4:
        time.sleep(2)
        code, seen = deployguard("watch", "--once")
        codes.append(code)

    assert len(codes) >= 2
    assert codes[-1] == 0
    assert seen["state"] == "succeeded"
    assert "1 condition held" in seen["steps"][0]["summary"]


def test_a_line_written_between_two_visits_is_seen(deployguard, project):
    deployguard("deploy", "--yes")
    with (project / "app.log").open("a") as log:
        log.write("cryptography.fernet.InvalidToken\n")

    code, seen = deployguard("watch", "--once")

    assert (code, seen["state"]) == (5, "failed")
    assert "1 matching lines" in seen["steps"][0]["summary"]


def test_a_line_in_a_log_that_was_rotated_between_two_visits_is_seen(deployguard, project):
    deployguard("deploy", "--yes")
    with (project / "app.log").open("a") as log:
        log.write("cryptography.fernet.InvalidToken\n")
    (project / "app.log").rename(project / "app.log.1")
    (project / "app.log").write_text("all is well\n")

    assert deployguard("watch", "--once")[0] == 5


def test_looks_that_nobody_made_are_shown_as_missed(deployguard, project):
    (project / "runbook.yaml").write_text(RUNBOOK.replace("for: 3s", "for: 4s"))
    deployguard("deploy", "--yes")
    time.sleep(4.2)

    code, seen = deployguard("watch", "--once")

    assert code == 0
    assert "looks missed while nobody watched" in seen["steps"][0]["summary"]


def test_of_several_environments_that_are_watched_one_must_be_named(deployguard, project):
    both = RUNBOOK.replace("for: 3s", "for: 1h").replace(
        "environments: {", "environments: { staging: { on_failure: stop },"
    )
    (project / "runbook.yaml").write_text(both)
    for environment in ("staging", "production"):
        assert deployguard("deploy", "--yes", "--env", environment)[0] == 4
    with (project / "app.log").open("a") as log:
        log.write("InvalidToken\n")

    code, said = deployguard("watch", "--once")
    assert (code, said["error"]["message"]) == (2, "several environments have a run that watches: production, staging")
    for environment in ("staging", "production"):
        assert deployguard("watch", "--once", "--env", environment)[0] == 5
    assert deployguard("watch", "--once")[0] == 0


def test_there_may_be_nothing_to_watch(deployguard):
    assert deployguard("watch", "--once") == (0, {"run": None, "state": None, "waiting_for": []})
