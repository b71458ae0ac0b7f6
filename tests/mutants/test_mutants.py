"""Tests that cannot fail prove nothing: each defect kept here is put into a copy, and its test must see it.

A patch names the test that catches it. When the code it changes has moved, make the patch anew.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = sorted(Path(__file__).parent.glob("*.patch"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine")
    for name in ("deployguard", "tests", "templates", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "corpus"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def copy(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "copy")


def test_there_are_enough_of_them():
    assert len(PATCHES) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.stem)
def test_a_known_defect_is_caught(copy, patch):
    catcher = re.search(r"^Caught by: (\S+)$", patch.read_text(), re.MULTILINE)[1]

    applied = subprocess.run(["git", "apply", "-C1", patch], cwd=copy, capture_output=True, text=True, check=False)
    tried = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", catcher],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert applied.returncode == 0, f"{patch.name} no longer fits: {applied.stderr}"
    assert tried.returncode == 1, tried.stdout + tried.stderr
    assert "= FAILURES =" in tried.stdout, "not the test failed, but what it needs"
