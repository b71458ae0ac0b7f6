"""Backups by hand are runs that stand aside: on record, reported, and in nobody's way."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

RUNBOOK = """
version: 1
name: shop
environments:
  production: { database: "sqlite:///shop.db", on_failure: stop }
steps:
  - id: backup
    uses: backup.create
    with: { plain_reason: the disk is encrypted, expires: 30d }
    rollback: { uses: backup.restore, when: requested }
  - id: change
    run: [sh, -c, "test ! -e broken"]
    idempotent: true
    rollback: { run: ["true"] }
"""


@pytest.fixture
def project(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
    connection.execute("INSERT INTO person VALUES (1, 'Ann')")
    connection.commit()
    connection.close()
    return tmp_path


@pytest.fixture
def start(project):
    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "deployguard", *words], cwd=project, env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.fixture
def deployguard(start):
    """Exit code and JSON document."""

    def deployguard(*words):
        process = start(*words, "--json")
        out, err = process.communicate(timeout=120)
        assert out, err
        return process.returncode, json.loads(out)

    return deployguard


def kept(project):
    return sorted(path.name for path in project.glob(".deployguard/backups/*") if path.is_dir())


def test_a_backup_by_hand_is_on_record_and_in_the_report(deployguard, project):
    code, taken = deployguard("backup", "create")

    assert code == 0
    assert taken["backup"] == f"{taken['run']}-backup"
    (run,) = deployguard("runs")[1]["runs"]
    assert (run["run"], run["state"]) == (taken["run"], "succeeded")
    assert taken["backup"] in (project / f"reports/{taken['run']}.md").read_text()


def test_it_stands_in_nobodys_way(deployguard, project):
    (project / "broken").touch()
    code, failed = deployguard("deploy", "--yes")
    assert (code, failed["state"]) == (5, "failed")

    assert deployguard("backup", "create")[0] == 0
    (project / "broken").unlink()
    code, done = deployguard("deploy", "--resume")

    assert (code, done["run"], done["state"]) == (0, failed["run"], "succeeded")
    assert deployguard("backup", "create")[0] == 0
    assert deployguard("show")[1]["run"] == failed["run"]
    code, back = deployguard("rollback", "--yes")
    assert (code, back["run"]) == (0, failed["run"])


def test_what_a_run_has_made_obsolete_is_destroyed_on_record_and_the_last_one_stays(deployguard, project):
    _, run = deployguard("deploy", "--yes")
    old = f"{run['run']}-backup"
    code, done = deployguard("backup", "prune", "--plaintext-before", run["run"], "--yes")
    assert (code, done["destroyed"], kept(project)) == (0, [], [old])
    _, new = deployguard("backup", "create")
    report = project / f"reports/{run['run']}.md"
    assert deployguard("report", run["run"], "--to", "reports")[0] == 0
    assert report.read_text().count("holds the columns as they were before encryption") == 2

    assert deployguard("backup", "prune", "--plaintext-before", run["run"])[0] == 3
    assert kept(project) == sorted([old, new["backup"]])
    code, done = deployguard("backup", "prune", "--plaintext-before", run["run"][:-1], "--yes")

    assert code == 0
    assert [(b["backup"], b["why"]) for b in done["destroyed"]] == [(old, "holds the data as it was before the change")]
    assert done["destroyed"][0]["manifest_sha256"]
    assert kept(project) == [new["backup"]]
    assert deployguard("show", done["run"])[1]["steps"][0]["uses"] == "backup.destroy"
    assert old in (project / f"reports/{done['run']}.md").read_text()
    assert deployguard("report", run["run"], "--to", "reports")[0] == 0
    assert old not in report.read_text().split("What this does not cover")[1]
    assert new["backup"] in report.read_text().split("What this does not cover")[1]


def test_what_an_unfinished_run_may_need_stays_while_other_backups_go(deployguard, project):
    runbook = project / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("expires: 30d", "expires: 0s"))
    _, first = deployguard("deploy", "--yes")
    (project / "broken").touch()
    _, failed = deployguard("deploy", "--yes")
    _, last = deployguard("backup", "create")

    code, done = deployguard("backup", "prune", "--yes")

    assert code == 0
    assert [b["backup"] for b in done["destroyed"]] == [f"{first['run']}-backup"]
    assert kept(project) == sorted([f"{failed['run']}-backup", last["backup"]])


def test_a_run_of_another_environment_is_refused(deployguard, project):
    runbook = project / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("environments:", "environments:\n  staging: {}"))
    _, run = deployguard("deploy", "--env", "production", "--yes")

    code, done = deployguard("backup", "prune", "--env", "staging", "--plaintext-before", run["run"], "--yes")

    assert (code, done["ok"]) == (2, False)
    assert len(kept(project)) == 1


def test_a_kill_while_it_is_destroyed_is_made_good_by_the_next(deployguard, project, start):
    _, run = deployguard("deploy", "--yes")
    old = project / f".deployguard/backups/{run['run']}-backup"
    deployguard("backup", "create")
    for n in range(5000):  # long enough to be killed in
        (old / f"x{n}").touch()
    process = start("backup", "prune", "--plaintext-before", run["run"], "--yes")
    until = time.monotonic() + 60
    while old.exists() and time.monotonic() < until and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()

    code, _ = deployguard("deploy", "--resume")

    assert code in {0, 2}  # 2: it had been quick enough to end
    assert not any(name.startswith(old.name) for name in kept(project))
    assert deployguard("backup", "prune", "--yes")[0] == 0
    assert len(kept(project)) == 1


def test_one_that_was_killed_keeps_no_deployment_from_beginning(deployguard, project, start):
    def begun():
        return any(name.endswith(".partial") for name in kept(project))

    for _ in range(50):  # a look of a busy machine may come when it has ended already
        process = start("backup", "create")
        while not begun() and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if begun():
            break
    assert begun()

    assert deployguard("deploy", "--yes")[0] == 0


def test_what_was_begun_and_left_is_named_and_goes(deployguard, project):
    _, taken = deployguard("backup", "create")
    draft = project / ".deployguard/backups/production-killed-backup.partial"
    draft.mkdir(mode=0o700)
    (draft / "snapshot").write_text("Ann")

    code, done = deployguard("backup", "prune", "--yes")

    assert code == 0
    assert [(b["state"], b["why"]) for b in done["destroyed"]] == [("unfinished", "begun and never finished")]
    assert kept(project) == [taken["backup"]]


def test_a_restore_by_hand_is_on_record_with_what_it_lost(deployguard, project):
    _, taken = deployguard("backup", "create")
    connection = sqlite3.connect(project / "shop.db", isolation_level=None)
    connection.execute("INSERT INTO person VALUES (2, 'Bob')")
    connection.close()

    code, done = deployguard("backup", "restore", taken["backup"], "--confirm", "shop.db")

    assert code == 0
    report = (project / f"reports/{done['run']}.md").read_text()
    assert "rows written since, not in it: 1" in report
    assert (project / done["kept"]).exists()


def test_why_a_backup_by_hand_failed_is_told_by_its_exit_code(deployguard, project):
    (project / ".deployguard").mkdir(mode=0o700)
    (project / ".deployguard/operator.key").write_text("x")
    (project / ".deployguard/operator.key").chmod(0o644)

    code, said = deployguard("backup", "create")

    assert code == 3
    assert "read by others" in said["error"]["message"]
    assert deployguard("runs")[1]["runs"][0]["state"] == "rolled_back"
