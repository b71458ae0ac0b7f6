"""Rows are rewritten only once a backup of their database was restored in the same run, whatever was left out of it."""

import json
import sqlite3
from contextlib import closing

import pytest
from small_site import at_new_code

RUNBOOK = """\
version: 1
name: encrypt
django:
  env: { MESSAGE_ENCRYPTION_KEY: "${{ secrets.encryption_key }}" }
secrets:
  encryption_key: { from: env, name: STAGING_MESSAGE_ENCRYPTION_KEY }
environments:
  staging: { directory: staging, database: "sqlite:///staging/db.sqlite3" }
vars: { backup: "yes", verify: restore, folder: "" }
steps:
  - id: mark
    run: [touch, marked]
    idempotent: true
    rollback: { run: [rm, -f, marked] }
  - id: backup
    uses: backup.create
    if: vars.backup
    with: { plain_reason: a test, verify: "${{ vars.verify }}", to: "${{ vars.folder }}" }
    continue_on_error: true
  - id: encrypt
    uses: encryption.encrypt
  - id: verify
    uses: encryption.verify
"""
WHY = RUNBOOK.replace("encryption.encrypt\n", "encryption.encrypt\n    with: { without_backup: made up values }\n")
REFUSED, ROLLED_BACK = 3, 1


@pytest.fixture
def site(site):
    at_new_code(site)
    site.write(RUNBOOK)
    return site


def emails(site):
    with closing(sqlite3.connect(site.database())) as connection:
        return connection.execute("SELECT id, email FROM web_profile ORDER BY id").fetchall()


def deploy(site, *arguments):
    done = site.run("deploy", "--env", "staging", "--yes", *arguments)
    print(done.stdout, done.stderr)
    return done


def report(site):
    return json.loads(site.run("report", "--format", "json").stdout)


def test_after_a_backup_that_was_restored_rows_are_rewritten(site):
    before = emails(site)

    assert deploy(site).returncode == 0

    assert emails(site) != before


LEFT_OUT = {
    "the person skips it": ["--skip", "backup"],
    "the person begins after it": ["--from", "encrypt"],
    "the person wants nothing else": ["--only", "encrypt"],
    "its condition is false": ["--set", "backup="],
    "it would only be read back": ["--set", "verify=read"],
}


@pytest.mark.parametrize("arguments", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_a_run_that_would_leave_the_backup_out_is_refused_before_anything_is_touched(site, arguments):
    before = site.untouchable()

    done = deploy(site, *arguments)

    assert done.returncode == REFUSED
    assert "encrypt rewrites rows, and no step before it backs up the same database" in done.stdout
    assert "backup.create with verify: restore" in done.stdout + done.stderr
    assert site.untouchable() == before
    assert not (site.copy() / "marked").exists()


def test_a_step_that_is_left_out_too_needs_no_backup(site):
    assert deploy(site, "--skip", "backup", "--skip", "encrypt", "--skip", "verify").returncode == 0


def test_a_backup_that_failed_keeps_rows_from_being_rewritten(site):
    (site.root / "full").touch()
    before = emails(site)

    done = deploy(site, "--set", "folder=full")

    assert done.returncode == ROLLED_BACK
    assert "this run has no backup of its database that was restored: backup failed" in done.stdout
    assert emails(site) == before


def test_a_backup_that_a_person_only_declared_done_is_none(site):
    (site.root / "full").touch()
    site.write(RUNBOOK.replace("    continue_on_error: true\n", "    on_failure: stop\n"))
    before = emails(site)
    assert deploy(site, "--set", "folder=full").returncode != 0

    done = site.run("deploy", "--resume", "--env", "staging", "--decide", "backup=done", "--why", "I know")

    assert "this run has no backup of its database that was restored: backup succeeded" in done.stdout
    assert emails(site) == before


def test_a_runbook_that_says_why_runs_without_and_says_so_loudly(site):
    site.write(WHY)

    planned = site.run("plan", "--env", "staging")
    asked = json.loads(site.run("preflight", "--env", "staging", "--json").stdout)
    done = deploy(site, "--skip", "backup")

    warning = "encrypt rewrites rows without a backup that was restored: made up values"
    assert warning in planned.stdout
    assert [(c["status"], c["summary"]) for c in asked["checks"]] == [("warn", warning)]
    assert done.returncode == 0
    (text,) = [p.read_text("utf-8") for p in (site.root / "reports").glob("*.md")]
    head = text[: text.index("\n## ")]
    assert "rewrites rows without a backup that was restored. Reason given: made up values" in head


def test_a_run_from_before_this_was_asked_is_still_taken_back(site):
    site.write(WHY)
    before = emails(site)
    assert deploy(site).returncode == 0
    site.write(RUNBOOK.replace("    if: vars.backup\n", "").replace('verify: "${{ vars.verify }}"', "verify: read"))
    assert site.run("check").returncode == 2

    done = site.run("rollback", "--env", "staging", "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    assert emails(site) == before


def test_work_by_hand_takes_the_runbooks_backup_first(site):
    site.write(WHY)

    done = site.run("data", "encrypt", "--env", "staging", "--yes", "--limit", "3", "--json")

    assert done.returncode == 0, done.stderr
    assert [s["uses"] for s in json.loads(done.stdout)["steps"]][:2] == ["backup.create", "encryption.readiness"]


def test_work_by_hand_without_a_backup_needs_a_reason(site):
    site.write(RUNBOOK[: RUNBOOK.index("steps:\n  - id: mark")])
    before = site.untouchable()

    refused = site.run("data", "encrypt", "--env", "staging", "--yes")
    done = site.run("data", "encrypt", "--env", "staging", "--yes", "--without-backup", "made up values")

    assert refused.returncode == REFUSED
    assert "say --without-backup and why" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert site.untouchable() != before
    assert "Reason given: made up values" in "".join(p.read_text("utf-8") for p in (site.root / "reports").glob("*.md"))
