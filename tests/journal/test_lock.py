"""One holder per environment: the kernel's lock, and whether it still is the one that others would meet."""

import os
import subprocess
import sys

import pytest

from deployguard.errors import EnvironmentHeld, LeaseLost
from deployguard.journal.lock import EnvironmentLock

ABOUT = {"run": "r1", "pid": 1, "host": "elsewhere", "since": "2026-01-01T00:00:00Z"}


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path):
    with EnvironmentLock(tmp_path, "staging", about=ABOUT), pytest.raises(EnvironmentHeld) as caught:
        EnvironmentLock(tmp_path, "staging", about=ABOUT)

    assert "run r1 (process 1 on elsewhere) since 2026-01-01T00:00:00Z" in caught.value.message


def test_another_environment_is_free(tmp_path):
    with EnvironmentLock(tmp_path, "staging", about=ABOUT), EnvironmentLock(tmp_path, "a/../b", about=ABOUT):
        pass


def test_a_dead_holders_lock_is_free_at_once(tmp_path):
    script = f"""
import os
from pathlib import Path
from deployguard.journal.lock import EnvironmentLock
lock = EnvironmentLock(Path({str(tmp_path)!r}), "staging", about={ABOUT!r})
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9

    EnvironmentLock(tmp_path, "staging", about=ABOUT).close()


def test_a_lock_that_its_dead_takers_child_keeps_is_said_to_be_of_one_who_is_gone(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    about = {**ABOUT, "host": os.uname().nodename, "pid": gone.pid, "pid_started": 1.0}
    with EnvironmentLock(tmp_path, "staging", about=about), pytest.raises(EnvironmentHeld) as caught:
        EnvironmentLock(tmp_path, "staging", about=ABOUT)

    assert f"run r1 (process {gone.pid} on {os.uname().nodename}, which is gone) since" in caught.value.message


def test_a_lock_file_that_was_removed_is_noticed_by_its_holder(tmp_path):
    with EnvironmentLock(tmp_path, "staging", about=ABOUT) as lock:
        lock.require()
        (tmp_path / "staging.lock").unlink()

        with pytest.raises(LeaseLost, match="removed or replaced"):
            lock.require()


def test_of_two_holders_after_a_removal_only_the_second_goes_on(tmp_path):
    with EnvironmentLock(tmp_path, "staging", about=ABOUT) as first:
        (tmp_path / "staging.lock").unlink()
        with EnvironmentLock(tmp_path, "staging", about=ABOUT) as second:
            second.require()
            with pytest.raises(LeaseLost):
                first.require()
