"""What the steps' commands wrote can be read again, masked as it was written and harmless to a terminal."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from projects import Project, step


@pytest.fixture
def project(tmp_path):
    """A run of three steps, one of which says nothing."""
    made = Project(tmp_path)
    quiet = {"id": "quiet", "run": "true"}
    items = {"id": "each", "matrix": {"item": ["a", "b"]}, "run": "echo this is ${{ matrix.item }}"}
    made.write(step("one", "printf 'said \\033[31mred\\033[0m \\377\\n'"), quiet, items)
    made.run = made.deploy().id
    return made


def test_one_steps_log_stands_alone_and_its_control_characters_are_shown(project):
    done = project.command("logs", "staging", "one")

    assert (done.returncode, done.stdout) == (0, "said \\x1b[31mred\\x1b[0m \\xff\n")


def test_without_a_step_all_are_shown_in_their_order_each_under_its_name(project):
    done = project.command("logs")

    folder = project.folder / ".deployguard/runs" / project.run
    assert done.stdout.splitlines()[0] == f"== one: {folder}/one.log"
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == [
        f"== {name}: {folder}/{name}.log" for name in ("one", "each[a]", "each[b]")
    ]


@pytest.mark.parametrize(("name", "says"), [("each[b]", ["this is b"]), ("each", ["this is a", "this is b"])])
def test_of_a_matrix_one_item_or_all_are_meant(project, name, says):
    lines = project.command("logs", project.run, name).stdout.splitlines()

    assert [line for line in lines if not line.startswith("==")] == says


def test_scripts_are_told_where_the_logs_are(project):
    found = json.loads(project.command("logs", "--json").stdout)

    assert found["run"] == project.run
    assert [(log["step"], Path(log["path"]).stat().st_size) for log in found["logs"]] == [
        (log["step"], log["bytes"]) for log in found["logs"]
    ]


def test_a_step_that_wrote_nothing_is_said_to_have_written_nothing(project):
    done = project.command("logs", project.run, "quiet")

    assert done.returncode == 0
    assert "no command of quiet has written anything" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (("staging", "nowhere"), "has no step 'nowhere'", "Steps: one, quiet, each[a], each[b]."),
        (("nowhere",), "no run begins with 'nowhere'", "'deployguard runs' lists them."),
    ],
)
def test_what_is_not_there_is_named_with_what_is(project, arguments, says, hint):
    done = project.command("logs", *arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert hint in done.stderr


def test_a_log_in_which_a_piece_ends_inside_a_character_is_whole(project):
    text = "." + "€" * 100_000
    log = project.folder / ".deployguard/runs" / project.run / "one.log"
    log.write_text(text, "utf-8")

    assert project.command("logs", "staging", "one").stdout == text
