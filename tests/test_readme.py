"""The README is carried out: each command in it runs, each promise in it has its tests."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from deployguard import errors
from deployguard.cli.app import EXIT_CODES, app
from deployguard.engine.deploy import EXIT

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language):
    """The fenced blocks of a language, without comments, as lists of lines."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [[line.partition(" #")[0].rstrip() for line in block.splitlines()] for block in found]


def rows(heading):
    """The rows of the table under a heading, as lists of cells."""
    section = README.partition(f"{heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


COMMANDS = [line for block in blocks("console") for line in block]
USED = [line for line in COMMANDS if line.startswith("deployguard ")]
IN_DEMO = [line for line in COMMANDS if line.startswith("demo/deployguard ")]
MAKES = [line for line in COMMANDS if line.startswith("make ")]
MENTIONED = re.findall(r"`(deployguard [^`]+)`", README)


def test_every_command_block_is_of_a_sort_that_is_tested_here():
    assert sorted(COMMANDS) == sorted([*USED, *IN_DEMO, *MAKES])
    assert min(len(USED), len(IN_DEMO), len(MAKES), len(MENTIONED)) > 1


def test_the_shortest_runbook_and_every_command_under_it_work(tmp_path):
    (yaml,) = blocks("yaml")
    (tmp_path / "runbook.yaml").write_text("\n".join(yaml) + "\n")
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "deployguard").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deployguard "$@"\n')
    (scripts / "deployguard").chmod(0o755)
    env = {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    for command in USED:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stdout, command
        assert done.stderr == "", command
    assert list((tmp_path / "reports").glob("staging-*.md"))


@pytest.mark.parametrize("command", [*IN_DEMO, *MENTIONED])
def test_every_other_command_is_one_that_is_understood(command):
    words = shlex.split(command.partition(" >")[0])[1:]
    group = typer.main.get_command(app)
    context = group.make_context("deployguard", [], resilient_parsing=True)

    while words and hasattr(group, "commands") and not words[0].startswith("-"):
        name, group, words = group.resolve_command(context, words)
        context = group.make_context(name, [], parent=context, resilient_parsing=True)

    known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known
    assert not hasattr(group, "commands") or words


def test_the_demo_ends_with_the_commands_that_the_readme_shows():
    demo = (ROOT / "examples/demo.py").read_text("utf-8")

    assert [c for c in IN_DEMO if f'"{c.removeprefix("demo/deployguard ")}"' not in demo] == []


@pytest.mark.parametrize("command", MAKES)
def test_every_make_command_has_its_rule(command):
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_the_package_is_named_as_it_is_installed():
    (name,) = re.findall(r"`pip install (\S+)`", README)

    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["name"] == name


def test_the_exit_codes_are_those_of_the_errors_and_of_the_help():
    listed = {int(code) for code, _ in rows("### Exit codes")}
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.DeployguardError)]

    assert listed == {0, *EXIT.values(), *(c.exit_code for c in classes)}
    assert listed == {int(code) for code in re.findall(r"(\d) [a-z]", EXIT_CODES)}


@pytest.mark.parametrize(("promise", "shown_by"), rows("## What it promises, and what shows it"))
def test_every_promise_is_shown_by_tests(promise, shown_by):
    places = [ROOT / place for place in re.findall(r"`([^`]+)`", shown_by)]

    assert places
    for place in places:
        files = [place] if place.is_file() else sorted(place.glob("test_*.py"))
        assert any("\ndef test_" in file.read_text("utf-8") for file in files), place
