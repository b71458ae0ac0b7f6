"""Every kind stands in the list, and only those that a runbook uses are imported."""

import ast
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from deployguard import steps
from deployguard.steps import KINDS, all_kinds
from deployguard.steps.base import Step

FOLDER = Path(steps.__file__).parent


@pytest.mark.parametrize("name", KINDS)
def test_a_name_in_the_list_is_the_name_of_its_kind(name):
    assert KINDS[name].uses == name
    assert issubclass(KINDS[name], Step)


def test_every_kind_that_there_is_stands_in_the_list():
    named = set()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "uses" and node.value:
                named.add(ast.literal_eval(node.value))

    assert named == set(KINDS)


@pytest.fixture
def theirs(monkeypatch):
    """A package of somebody else's with two kinds, one of them under a name of ours."""
    points = [EntryPoint(n, "deployguard.steps.run:Run", steps.ENTRY_POINTS) for n in ("company.ticket", "git.clean")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == steps.ENTRY_POINTS else [])
    steps._theirs.cache_clear()
    yield all_kinds()
    steps._theirs.cache_clear()


def test_kinds_of_other_packages_are_known_and_take_no_name_of_ours(theirs):
    assert theirs["company.ticket"].uses == "run"
    assert theirs["git.clean"].uses == "git.clean"
    assert list(theirs) == [*KINDS, "company.ticket"]
    assert len(theirs) == len(KINDS) + 1
    assert "company.nothing" not in theirs


def test_checking_a_small_runbook_imports_no_kind_but_its_own_and_nothing_heavy(tmp_path):
    (tmp_path / "runbook.yaml").write_text(
        "version: 1\nname: small\nenvironments: { staging: {} }\n"
        "preflight: [{ uses: disk.space, with: { at_least: 1B } }]\n"
        "steps: [{ id: greet, run: echo hello, idempotent: true }]\n"
    )
    script = (
        "import sys\nfrom deployguard.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, "preflight"], cwd=tmp_path, env={"PYTHONPATH": str(FOLDER.parents[1])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "2 of 2" not in done.stdout
    assert "1 of 1 checks passed" in done.stdout
    modules = set(done.stderr.split())
    of_steps = {m.removeprefix("deployguard.steps.") for m in modules if m.startswith("deployguard.steps.")}
    assert of_steps == {"base", "words", "disk_space", "run"}
    assert modules & {"rich", "sh", "tenacity", "httpx", "cryptography", "psycopg", "pymysql", "apprise"} == set()
