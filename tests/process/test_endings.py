import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from looking import alive, ticks, wait_for, zombies

from deployguard.process import end_leftover, end_orphans, started

STUBBORN = "trap '' TERM HUP INT; echo $$ > pid; while :; do sleep 0.2; done"
DAEMON = """
import os, signal, sys, time
if os.fork():
    while not (os.path.exists('pid') and os.path.getsize('pid')): time.sleep(0.01)
    until = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < until and not os.path.exists('go'): time.sleep(0.01)
    os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
if sys.argv[2] == 'stubborn': signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[3] == 'quiet': os.dup2(os.open('/dev/null', os.O_RDWR), 1); os.dup2(1, 2)
open('pid', 'w').write(f'{os.getpid()}\\n')
time.sleep(1000)
"""


def test_what_overruns_its_time_is_asked_to_end(shell, tmp_path, time_from):
    time_from((tmp_path / "ready").exists)

    result = shell("trap 'echo bye; exit 5' TERM; echo hi; touch ready; sleep 100 & wait", timeout=0.3, grace=20)

    assert result.timed_out
    assert (result.exit, result.tail) == (5, "hi\nbye")
    assert result.describe() == "timed out after 0.3 s"
    assert result.seconds < 20


def test_what_ignores_that_is_killed_at_the_end_of_the_grace(shell, tmp_path, time_from):
    time_from((tmp_path / "pid").exists)

    result = shell(STUBBORN, timeout=0.3, grace=0.4)

    assert (result.exit, result.timed_out) == (-signal.SIGKILL, True)
    assert 0.7 <= result.seconds < 20
    assert not alive(int(wait_for(tmp_path / "pid")))


def test_what_is_stopped_with_a_signal_is_ended_too(shell, time_from):
    pids = []
    time_from(lambda: pids and Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    result = shell("kill -STOP $$", timeout=0.3, grace=0.3, on_start=lambda pid, _began: pids.append(pid))

    assert (result.exit, result.timed_out) == (-signal.SIGKILL, True)


def test_a_stop_asked_for_ends_it_within_moments(shell):
    begun = time.monotonic()

    result = shell("sleep 100", should_stop=lambda: time.monotonic() > begun + 0.2)

    assert (result.stopped, result.timed_out, result.describe()) == (True, False, "ended on request")
    assert 0.2 <= result.seconds < 10


def test_it_is_asked_to_end_only_once(shell):
    result = shell("trap 'echo term' TERM; sleep 0.6 & wait; wait; wait", should_stop=lambda: True, grace=1.5)

    assert result.tail.count("term") <= 1
    assert result.stopped


def test_a_finished_command_is_not_said_to_be_stopped_while_its_output_is_drained(shell, time_from):
    pids, looks = [], []

    def ended():
        return bool(pids) and started(pids[0]) is None

    def asked_after_its_end():
        looks.append(ended())
        return sum(looks) > 1  # the first look may come before its end is noticed

    time_from(ended)

    result = shell(
        "sleep 1 & echo done", should_stop=asked_after_its_end, timeout=0.5,
        on_start=lambda pid, _began: pids.append(pid),
    )  # fmt: skip

    assert (result.exit, result.stopped, result.timed_out) == (0, False, False)


@pytest.mark.parametrize("pipe", ["quiet", "holds the pipe"])
@pytest.mark.parametrize("manner", ["polite", "stubborn"])
def test_a_daemon_it_leaves_behind_is_found_and_ended(command, tmp_path, manner, pipe):
    result = command(sys.executable, "-c", DAEMON, "0.3", manner, pipe)

    assert (result.exit, result.left_behind) == (0, 1)
    assert not alive(int(wait_for(tmp_path / "pid")))
    assert result.seconds < 20


def test_a_daemon_that_holds_the_pipe_past_the_deadline_is_ended(command, tmp_path, time_from):
    time_from((tmp_path / "pid").exists)

    result = command(sys.executable, "-c", DAEMON, "100", "stubborn", "holds", timeout=0.5, grace=0.3)

    assert result.timed_out
    assert not alive(int(wait_for(tmp_path / "pid")))
    assert result.seconds < 20


def test_a_descendant_that_left_session_and_environment_is_found_by_its_parents(shell, tmp_path, time_from):
    time_from((tmp_path / "pid").exists)

    shell("setsid env -i sh -c 'echo $$ > pid; exec sleep 1000'", timeout=0.5, grace=0.2)

    assert not alive(int(wait_for(tmp_path / "pid")))


def test_processes_of_others_are_left_alone(shell):
    mine = [
        subprocess.Popen(["sleep", "30"]),
        subprocess.Popen(["sleep", "30"], start_new_session=True),
    ]
    try:
        shell("sleep 100 & echo left")

        assert [process.poll() for process in mine] == [None, None]
    finally:
        for process in mine:
            process.kill()
            process.wait()


def test_a_run_in_another_thread_keeps_its_daemon_while_it_lasts(command, tmp_path):
    (tmp_path / "long").mkdir()
    results = []
    argv = [sys.executable, "-c", DAEMON, "100", "polite", "quiet"]
    other = threading.Thread(target=lambda: results.append(command(*argv, cwd=tmp_path / "long", timeout=100.0)))
    other.start()
    daemon = int(wait_for(tmp_path / "long" / "pid"))

    for _ in range(5):
        command(sys.executable, "-c", DAEMON, "0.1", "polite", "quiet")

    assert alive(daemon)
    (tmp_path / "long" / "go").touch()
    other.join()
    assert not alive(daemon)
    assert results[0].left_behind == 1


def test_many_runs_at_once_each_get_their_own_result(shell):
    results = {}

    def work(number: int) -> None:
        results[number] = shell(f"(setsid sleep 50 >/dev/null 2>&1 &); echo {number}; exit {number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {n: (r.exit, r.tail) for n, r in results.items()} == {n: (n, str(n)) for n in range(12)}


def test_a_storm_of_orphans_leaves_no_zombie(python):
    begun = ticks()

    python(
        "import os\n"
        "for _ in range(100):\n"
        "    if not os.fork():\n"
        "        if not os.fork(): os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )

    assert zombies(begun) == 0


def test_a_limited_fork_bomb_is_ended_whole(python, tmp_path, time_from):
    time_from(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 64)
    script = (
        "import os, time\nfor _ in range(6): os.fork()\nopen('pids', 'a').write(f'{os.getpid()}\\n'); time.sleep(100)"
    )

    python(script, timeout=1.0, grace=0.0)

    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 64
    assert not any(map(alive, pids))


ENGINE = """
import sys
from pathlib import Path
from deployguard.masking import Masker
from deployguard.process import base_environment, run
run(sys.argv[2:], cwd=Path(sys.argv[1]), env=base_environment(), timeout=None, masker=Masker([]),
    on_start=lambda pid, began: Path(sys.argv[1], "started").write_text(f"{pid} {began}\\n"))
"""


@pytest.fixture
def killed_engine(tmp_path):
    """Start a run in another process, and kill that one; give the process id and start that it recorded."""

    def kill(*argv: str) -> tuple[int, float]:
        root = str(Path(__file__).parents[2])
        engine = subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(tmp_path), *argv], env={**os.environ, "PYTHONPATH": root}
        )
        pid, began = wait_for(tmp_path / "started").split()
        wait_for(tmp_path / "pid")
        engine.kill()
        engine.wait()
        return int(pid), float(began)

    return kill


def test_what_a_killed_engine_left_running_is_found_and_ended(killed_engine):
    pid, began = killed_engine("sh", "-c", STUBBORN)
    assert started(pid) == began

    assert end_leftover(pid, began, grace=0.2)

    assert not alive(pid)
    assert not end_leftover(pid, began, grace=0.2)


def test_its_daemons_are_found_too(killed_engine, tmp_path):
    pid, began = killed_engine(sys.executable, "-c", DAEMON, "100", "stubborn", "quiet")

    assert end_leftover(pid, began, grace=0.2)

    assert not alive(int(wait_for(tmp_path / "pid")))


def test_its_session_is_found_when_its_leader_is_gone(killed_engine, tmp_path):
    pid, began = killed_engine("sh", "-c", "sh -c 'echo $$ > pid; exec sleep 1000' & sleep 1000")
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while started(pid) is not None and time.monotonic() < until:
        time.sleep(0.01)

    assert end_leftover(pid, began, grace=0.2)

    assert not alive(int(wait_for(tmp_path / "pid")))


PIPES = """
import os, sys, time
from pathlib import Path
from deployguard.process import base_environment, started
from deployguard.process.piped import piped
with piped(["sh", "-c", sys.argv[2]], cwd=Path(sys.argv[1]), env=base_environment(), timeout=100, write=True):
    Path(sys.argv[1], "engine").write_text(f"{os.getpid()} {started(os.getpid())}\\n")
    time.sleep(100)
"""


def test_a_program_at_the_end_of_a_pipe_does_not_go_on_without_its_engine(tmp_path):
    engine = subprocess.Popen(
        [sys.executable, "-c", PIPES, str(tmp_path), "echo $$ > pid; exec sleep 1000"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    pid, began = wait_for(tmp_path / "engine").split()
    program = int(wait_for(tmp_path / "pid"))

    assert not end_orphans(int(pid), float(began), grace=0.2)
    engine.kill()
    engine.wait()

    assert end_orphans(int(pid), float(began), grace=0.2)
    assert not alive(program)


def test_a_number_that_another_process_has_by_now_is_left_alone():
    other = subprocess.Popen(["sleep", "30"], start_new_session=True)
    try:
        assert not end_leftover(other.pid, started(other.pid) - 1, grace=0.0)
        assert not end_leftover(other.pid, 0.0, grace=0.0)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
