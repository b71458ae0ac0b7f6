import os
import time

import pytest
from looking import at_work_in, descriptors

from deployguard.errors import Refused, StepFailed, StepTimedOut
from deployguard.process import capture


def test_both_streams_and_the_status_come_as_they_are(tmp_path):
    found = capture(["sh", "-c", "pwd; printf '\\377\\0' >&2; exit 4"], cwd=tmp_path)

    assert (found.exit, found.stdout, found.stderr) == (4, f"{tmp_path}\n".encode(), b"\xff\0")


def test_input_is_given_whole_and_without_it_there_is_none(tmp_path):
    text = os.urandom(300_000)

    assert capture(["cat"], cwd=tmp_path, input=text).stdout == text
    assert capture(["cat"], cwd=tmp_path, timeout=5.0).stdout == b""


def test_words_reach_the_program_as_they_are(tmp_path):
    words = ["", " ", "*", "$HOME", "a\nb", "é", "--x=y", "-"]

    assert capture(["printf", "%s|", *words], cwd=tmp_path).stdout.decode() == "".join(f"{w}|" for w in words)


def test_the_environment_is_the_given_one(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for git")

    assert capture(["/usr/bin/env"], cwd=tmp_path, env={"A": "1"}).stdout == b"A=1\n"
    assert b"AWS" not in capture(["/usr/bin/env"], cwd=tmp_path).stdout


def test_what_takes_too_long_is_killed_with_its_group(tmp_path):
    begun = time.monotonic()

    with pytest.raises(StepTimedOut, match=r"sh was not done in 0\.3 s"):
        capture(["sh", "-c", "sleep 100 & sleep 100"], cwd=tmp_path, timeout=0.3)

    assert time.monotonic() - begun < 50
    assert at_work_in(tmp_path) == []


def test_a_death_by_signal_is_a_negative_status(tmp_path):
    assert capture(["sh", "-c", "kill -KILL $$"], cwd=tmp_path).exit == -9


@pytest.mark.parametrize("name", ["no-such-program-here", "./no-such-program-here"])
def test_a_missing_program_is_named(tmp_path, name):
    with pytest.raises(StepFailed, match=name):
        capture([name], cwd=tmp_path)


def test_a_program_of_the_folder_is_found_from_there(tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\necho here\n")
    (tmp_path / "tool").chmod(0o755)

    assert capture(["./tool"], cwd=tmp_path).stdout == b"here\n"


def test_more_than_the_limit_is_refused(tmp_path):
    with pytest.raises(Refused, match="head wrote more than"):
        capture(["head", "-c", str(64 * 1024 * 1024 + 1), "/dev/zero"], cwd=tmp_path)


def test_captures_leave_no_descriptor(tmp_path):
    capture(["true"], cwd=tmp_path)
    before = descriptors()

    for _ in range(20):
        capture(["true"], cwd=tmp_path)

    assert descriptors() <= before  # what earlier tests have left open may be collected meanwhile
