import hashlib
import signal
import time

import pytest
from looking import CANARY, descriptors, ticks, zombies

from deployguard.errors import Refused, StepFailed
from deployguard.process import MARK, base_environment, run, started
from deployguard.secret import Secret


def test_a_result_says_how_it_ended_and_what_it_wrote_in_order(shell):
    result = shell("echo one; echo two >&2; echo three; exit 3")

    assert (result.exit, result.describe()) == (3, "exit status 3")
    assert result.tail == "one\ntwo\nthree"
    assert result.head == "one\ntwo\nthree\n"
    assert (result.bytes_out, result.sha256) == (14, hashlib.sha256(b"one\ntwo\nthree\n").hexdigest())
    assert (result.timed_out, result.stopped, result.log, result.left_behind) == (False, False, None, 0)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGINT", "SIGPIPE"])
def test_the_signal_that_ended_it_is_named(shell, name):
    result = shell(f"kill -{name.removeprefix('SIG')} $$")

    assert (result.exit, result.describe()) == (-signal.Signals[name], f"killed by {name}")


def test_a_signal_without_a_name_has_its_number(shell):
    assert shell("kill -40 $$").describe() == "killed by signal 40"


@pytest.mark.parametrize("argv", [["no-such-program-here"], ["/no/such/program"], ["./not-here"]])
def test_a_missing_program_is_named(command, argv):
    with pytest.raises(StepFailed) as failed:
        command(*argv)

    assert argv[0] in failed.value.message
    assert argv[0] in failed.value.hint


def test_what_cannot_be_started_is_said_without_its_environment(command, tmp_path):
    (tmp_path / "text").write_text("no program")

    with pytest.raises(StepFailed, match="Permission denied"):
        command(str(tmp_path / "text"))
    with pytest.raises(StepFailed, match="no such folder"):
        command("true", cwd=tmp_path / "nowhere")
    with pytest.raises(StepFailed) as failed:
        command("true", env={"TOKEN": Secret(f"{CANARY}\0", name="token")})
    assert CANARY not in failed.value.message + failed.value.hint


def test_an_argv_that_holds_a_secret_is_refused_before_the_start(shell, tmp_path):
    for form in (CANARY, CANARY.encode().hex()):
        with pytest.raises(Refused) as refused:
            shell(f"touch started; : --password={form}")
        assert form not in refused.value.message + refused.value.hint

    assert not (tmp_path / "started").exists()


def test_it_gets_exactly_the_environment_given_and_the_mark(command):
    result = command("/usr/bin/env", env={"A": "1", "TOKEN": Secret("another-value-1", name="token")})

    lines = sorted(result.tail.splitlines())
    assert lines[:1] + lines[2:] == ["A=1", "TOKEN=another-value-1"]
    assert lines[1].startswith(f"{MARK}=")


def test_the_base_environment_is_small(monkeypatch):
    for name in ("LC_TIME", "TZ", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "kept")
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "BASH_ENV"):
        monkeypatch.setenv(name, "not kept")

    given = base_environment()

    assert "not kept" not in given.values()
    assert list(given.values()).count("kept") == 3
    assert "PATH" in given


def test_the_start_is_told_once_while_it_runs(shell):
    told = []

    shell(
        "sleep 100", on_start=lambda pid, began: told.append((pid, began, started(pid))), should_stop=lambda: bool(told)
    )

    [(pid, began, seen)] = told
    assert began == seen is not None
    assert started(pid) is None


def test_when_a_callback_raises_the_process_is_ended_and_the_error_goes_on(shell):
    pids = []

    def broken(pid, _began):
        pids.append(pid)
        raise OSError("the journal's disk is full")

    begun = time.monotonic()
    with pytest.raises(OSError, match="disk is full"):
        shell("sleep 100", on_start=broken)

    assert started(pids[0]) is None
    assert time.monotonic() - begun < 50


def test_hundreds_of_runs_leave_no_descriptor_and_no_zombie(command):
    command("true")
    before, begun = descriptors(), ticks()

    for _ in range(150):
        command("true")

    assert descriptors() <= before  # what earlier tests have left open may be collected meanwhile
    assert zombies(begun) == 0


def test_run_takes_nothing_by_position():
    with pytest.raises(TypeError):
        run(["true"], ".")
