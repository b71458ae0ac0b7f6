"""The real program, sent a signal at a moment that nobody chose, once or twice: no third state, and resume ends it."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import twelve

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
DEADLY = {signal.SIGQUIT, signal.SIGKILL}


def started(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "deployguard", "deploy", "--env", "staging", *arguments], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(folder, *arguments):
    with started(folder, *arguments) as process:
        out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out + err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    twelve.project(folder)
    begun = time.monotonic()
    assert ended(folder, "--yes")[0] == 0
    return time.monotonic() - begun, twelve.world(folder)


@pytest.mark.parametrize("most", [5, pytest.param(200, marks=pytest.mark.faults)])
def test_a_signal_at_any_moment_leaves_what_resume_can_end(tmp_path, undisturbed, most):
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    codes = []
    for number in range(most):
        folder = tmp_path / str(number)
        folder.mkdir()
        twelve.project(folder)
        sent, code, too_early = _disturbed(folder, rng, undisturbed[0])
        codes.append(code)
        # 1: Python's own, whose start was interrupted before there was a program
        assert code in {0, 7, *(-s for s in sent)} or (too_early and code == 1), (number, sent, code)
        assert twelve.without_intent(folder) == {}
        _go_on(folder)
        assert twelve.world(folder) == undisturbed[1], (number, sent)
        assert twelve.begun_after_its_end(folder) == [], (number, sent)
        shutil.rmtree(folder)
    print({code: codes.count(code) for code in sorted(set(codes))}, file=sys.__stderr__, flush=True)


def _disturbed(folder, rng, seconds):
    """Signals sent before the handlers are there end the program as the system would; later ones as documented."""
    sent = [rng.choice(SIGNALS) for _ in range(rng.choice([1, 1, 2]))]
    with started(folder, "--yes") as process:
        while rng.random() < 0.99 and not (folder / "noted").exists() and process.poll() is None:
            time.sleep(0.005)
        for number in sent:
            time.sleep(rng.uniform(0, 0.7 * seconds / len(sent)))
            process.send_signal(number)
        _, err = process.communicate(timeout=120)
    too_early = err.rstrip().endswith("KeyboardInterrupt") and not (folder / ".deployguard").exists()
    assert "Traceback" not in err or too_early, (sent, err)
    return sent, process.returncode, too_early


def _go_on(folder):
    decide = []
    for _ in range(5):
        code, said = ended(folder, "--resume", *decide)
        if code == 0:
            return
        if code == 2:  # nothing was begun, or it had ended already
            if (folder / "made" / "last").exists():
                return
            assert ended(folder, "--yes")[0] == 0
            return
        assert code == 5, said
        step = re.search(r"--decide (\w+)=done", said)[1]
        made = folder / "made" / step
        decide = ["--decide", f"{step}={'done' if made.exists() and made.read_text() else 'retry'}"]
    pytest.fail("not done after five resumes")
