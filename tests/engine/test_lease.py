"""One run per environment: of many starters one wins, and who has lost the environment cannot write to it."""

import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import pytest
from small_site import at_new_code

from deployguard.errors import EnvironmentHeld, LeaseLost
from deployguard.journal.lock import EnvironmentLock, about_me

STARTERS = 16
ROUNDS = 20
HELD = 6
SLOW = """\
version: 1
name: slow
environments: { staging: {} }
steps:
  - { id: wait, run: [sh, -c, touch begun; until test -e enough; do sleep 0.01; done], idempotent: true }
"""
ENCRYPT = """\
version: 1
name: encrypt
django:
  env: { MESSAGE_ENCRYPTION_KEY: "${{ secrets.encryption_key }}" }
secrets:
  encryption_key: { from: env, name: STAGING_MESSAGE_ENCRYPTION_KEY }
environments:
  staging: { directory: staging, database: "sqlite:///staging/db.sqlite3" }
steps:
  - { id: encrypt, uses: encryption.encrypt, with: { without_backup: a test } }
"""
DEAD = json.dumps({"run": "staging-1", "pid": 2**22 + 1, "pid_started": 1.0, "host": os.uname().nodename}).encode()
MANY = 150_000
"""Rows: enough for a run to be found in the middle of them."""


@pytest.fixture
def slow(site):
    """A run there goes on until the file `enough` is made."""
    site.write(SLOW)
    return site


@pytest.fixture
def encrypting(site):
    """A run there has tens of thousands of rows to encrypt."""
    at_new_code(site)
    with closing(sqlite3.connect(site.database())) as connection, connection:
        connection.execute(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
            " INSERT INTO web_webrequest (path, ip_address, created_at)"
            " SELECT '/', '203.0.113.' || (n % 256), '2026-01-01 00:00:00' FROM n",
            [MANY],
        )
    site.write(ENCRYPT)
    return site


def wait_for(happened, process):
    until = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


# -- the lock says who is alive


@pytest.fixture
def rounds(slow):
    """Rounds of simultaneous starts; each gives what became of all of them."""
    argv = [
        sys.executable,
        Path(__file__).with_name("starters.py"),
        str(STARTERS),
        "deploy",
        "--env",
        "staging",
        "--yes",
    ]
    process = subprocess.Popen(
        argv, cwd=slow.root, env=slow.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def a_round():
        process.stdin.write("go\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield a_round
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


@pytest.mark.parametrize("parts", [1, pytest.param(50, marks=pytest.mark.faults)])
def test_of_sixteen_simultaneous_starters_one_wins_and_the_others_say_who_it_was(slow, rounds, parts):
    for _ in range(parts):
        for _ in range(ROUNDS):
            results = rounds()

            strange = [r["said"] for r in results if r["exit_code"] not in {0, HELD}]
            assert strange == []
            (winner,) = (r for r in results if r["exit_code"] == 0)
            (run,) = re.findall(r"^run (staging-\S+): slow → staging$", winner["said"], re.MULTILINE)
            holder = re.escape(f"run {run} (process {winner['pid']} on {os.uname().nodename}, which is alive)")
            for loser in results:
                if loser is not winner:
                    assert re.search(
                        f"the environment staging is held by {holder} since 20[0-9-]+T[0-9:]+Z", loser["said"]
                    )
                    assert "hint: Wait for it to end" in loser["said"]

        assert len(slow.run("runs").stdout.splitlines()) == ROUNDS + 1
        shutil.rmtree(slow.home)  # a journal is checked from its first event: a thousand runs in one take long


def test_a_dead_holders_lock_is_free_at_once(slow):
    holder = slow.start("deploy", "--env", "staging", "--yes")
    wait_for((slow.root / "begun").exists, holder)
    assert slow.run("deploy", "--resume", "--env", "staging").returncode == HELD

    holder.kill()
    holder.communicate()
    (slow.root / "enough").touch()
    done = slow.run("deploy", "--resume", "--env", "staging")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("left_there", [b"", DEAD], ids=["nothing", "what a dead holder wrote"])
def test_who_has_just_taken_the_lock_is_named_though_it_has_not_said_yet_who_it_is(tmp_path, monkeypatch, left_there):
    monkeypatch.setattr("deployguard.journal.lock._LOOKS", 3000)  # a busy machine begins threads late
    with (tmp_path / "staging.lock").open("wb") as newest:
        newest.write(left_there)
        newest.flush()
        fcntl.flock(newest, fcntl.LOCK_EX)

        def says_who_it_is():
            newest.truncate(0)
            os.pwrite(newest.fileno(), json.dumps(about_me("staging-2", datetime.now(UTC))).encode(), 0)

        soon = Timer(0.2, says_who_it_is)
        soon.start()
        with pytest.raises(EnvironmentHeld, match=rf"run staging-2 \(process {os.getpid()} on .*, which is alive\)"):
            EnvironmentLock(tmp_path, "staging", about={})
        soon.join()


def test_a_holder_whose_lock_file_was_removed_knows_it_at_its_next_safe_point(tmp_path):
    with EnvironmentLock(tmp_path, "staging", about={}) as old:
        old.require()
        (tmp_path / "staging.lock").unlink()
        with EnvironmentLock(tmp_path, "staging", about={}) as new:
            new.require()

            with pytest.raises(LeaseLost, match="lock file of staging was removed or replaced"):
                old.require()


# -- the fencing token says who is right


def lock_file_removed(site):
    (site.home / "locks" / "staging.lock").unlink()
    return ["deploy", "--resume"]


def from_another_folder(site):
    site.env["DEPLOYGUARD_HOME"] = str(site.root / "elsewhere")
    return ["deploy", "--yes"]


@pytest.mark.parametrize("taken_over", [lock_file_removed, from_another_folder])
def test_a_holder_that_slept_while_another_took_over_writes_no_more_rows(encrypting, taken_over):
    holder = encrypting.start("deploy", "--env", "staging", "--yes")
    with asleep_between_batches(encrypting, holder):
        arguments = taken_over(encrypting)
        done = encrypting.run(*arguments, "--env", "staging")
        assert done.returncode == 0, done.stderr
        assert plaintext(encrypting) == 0
        late = insert_plaintext(encrypting)

    out, err = holder.communicate(timeout=60)

    assert holder.returncode == HELD, out + err
    assert "Traceback" not in err
    assert plaintext(encrypting) == 1
    assert value(encrypting, late) == "203.0.113.1"


@contextmanager
def asleep_between_batches(site, process):
    """Stop a process that is encrypting while it is in no transaction."""
    wait_for(lambda: checkpointed(site), process)
    with closing(sqlite3.connect(site.database(), timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        process.send_signal(signal.SIGSTOP)
        connection.execute("ROLLBACK")
    assert plaintext(site) > 0, "it was done before it could be stopped"
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def checkpointed(site):
    try:
        return ask(site, "SELECT count(*) FROM deployguard_checkpoint WHERE name = 'web_webrequest'") > 0
    except sqlite3.OperationalError:
        return False


def plaintext(site):
    return ask(site, "SELECT count(*) FROM web_webrequest WHERE ip_address LIKE '203.%'")


def value(site, key):
    return ask(site, "SELECT ip_address FROM web_webrequest WHERE id = ?", key)


def insert_plaintext(site):
    with closing(sqlite3.connect(site.database(), timeout=30)) as connection, connection:
        return connection.execute(
            "INSERT INTO web_webrequest (path, ip_address, created_at) VALUES ('/', '203.0.113.1', '2026-01-01')"
        ).lastrowid


def ask(site, query, *values):
    with closing(sqlite3.connect(site.database(), timeout=30)) as connection:
        return connection.execute(query, values).fetchone()[0]
