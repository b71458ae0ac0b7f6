"""A journal of any earlier release is resumed, or refused by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
CASES = sorted(p.parent for p in CORPUS.glob("*/*/journal.db"))
ENDS = {"killed-in-rollback": (1, "rolled back")}
"""How a resumed case ends, where that is not success: exit code and words."""


@pytest.fixture
def project(tmp_path):
    def copied(case):
        home = tmp_path / ".deployguard"
        home.mkdir(mode=0o700)
        for file in case.iterdir():
            shutil.copyfile(file, (tmp_path if file.suffix == ".yaml" else home) / file.name)
        return tmp_path

    return copied


def command(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-m", "deployguard", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip


def test_the_corpus_has_this_releases_journals():
    from importlib.metadata import version

    assert version("deployguard") in {case.parent.name for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name} {case.name}")
def test_a_journal_of_an_earlier_release_is_resumed_or_refused_by_name(project, case):
    folder = project(case)

    done = command(folder, "deploy", "--resume", "--env", "staging")

    code, words = ENDS.get(case.name, (0, "succeeded"))
    if done.returncode == 8:
        assert "Use the deployguard that wrote it" in done.stderr
    else:
        assert done.returncode == code, done.stderr
        assert words in done.stdout


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name} {case.name}")
def test_a_journal_of_an_earlier_release_can_be_read(project, case):
    folder = project(case)

    assert command(folder, "show").returncode == 0
    assert "NOT TRUSTED" not in command(folder, "runs", "--inspect").stdout
