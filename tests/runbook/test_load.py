"""A runbook is read strictly: whatever is wrong is said at once, with its place, before anything happens."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from deployguard.errors import RunbookError
from deployguard.runbook.load import load_runbook, runbook_from


class Copy(BaseModel):
    model_config = ConfigDict(extra="forbid")
    uses: ClassVar[str] = "files.copy"
    outputs: ClassVar[tuple[str, ...]] = ("path",)
    check: ClassVar[bool] = False

    source: str
    times: int = 1


class Look(BaseModel):
    model_config = ConfigDict(extra="forbid")
    check: ClassVar[bool] = True


class Run(BaseModel):
    command: list[str]
    shell: bool = False
    done_if: list[str] | None = None
    harmless_twice: bool = False
    gives: list[str] = []


class FromEnv(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


KINDS = {"files.copy": Copy, "look": Look, "run": Run}
SOURCES = {"env": FromEnv}

GOOD = """\
version: 1
name: move-files
vars: { folder: /srv }
secrets:
  key: { from: env, name: KEY }
environments:
  staging: { vars: { folder: /tmp } }
  production: { requires: { promoted_from: staging, within: 2d } }
preflight:
  - uses: look
steps:
  - id: copy
    uses: files.copy
    with: { source: "${{ vars.folder }}/a", times: "${{ vars.folder | length }}" }
    rollback: { run: [rm, -r, "${{ steps.copy.outputs.path }}"] }
  - id: tell
    run: echo "${{ steps.copy.outputs.path }}" 'two words'
    env: { KEY: "${{ secrets.key }}" }
    needs: [copy]
    timeout: 1m30s
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "runbook.yaml"
        file.write_text(text, encoding="utf-8")
        return load_runbook(file, KINDS, SOURCES, begins=True)

    return load


def problems_of(load, text):
    with pytest.raises(RunbookError) as caught:
        load(text)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_a_good_runbook_is_read_with_units_and_words_in_place(load):
    runbook = load(GOOD)

    assert [s.id for s in runbook.spec.steps] == ["copy", "tell"]
    assert runbook.spec.steps[1].timeout == 90.0
    assert runbook.spec.environments["production"].requires.within == 2 * 86400
    assert runbook.line(("steps", 1)) == 16


def test_the_digest_is_of_the_meaning_not_of_the_text(load):
    shuffled = "# a comment\nname:   move-files\n" + GOOD.replace("name: move-files\n", "")

    assert load(GOOD).digest == load(shuffled).digest
    assert load(GOOD).digest != load(GOOD.replace("1m30s", "1m31s")).digest


def test_a_recorded_runbook_is_the_same_runbook(load):
    runbook = load(GOOD)

    again = runbook_from({**runbook.data, "file": "runbook.yaml"}, KINDS, SOURCES)

    assert again.digest == runbook.digest
    assert again.spec == runbook.spec


WRONG = {
    "a duplicate key": ("name: move-files", "name: a\nname: b", 3, "stands here twice", "Keep one"),
    "an unknown key": ("vars:", "varz:", 3, "unknown key 'varz'", "Did you mean vars?"),
    "an unknown key in a step": ("timeout:", "timeuot:", 20, "unknown key 'timeuot'", "Did you mean timeout?"),
    "an unknown key under with": ("source:", "sourze:", 14, "unknown key 'sourze'", "Did you mean source?"),
    "a wrong type": ("timeout: 1m30s", "timeout: soon", 20, "a duration is a number with a unit", ""),
    "a wrong type under with": ('times: "${{ vars.folder | length }}"', "times: often", 14, "valid integer", ""),
    "a number where text is meant": ('source: "${{ vars.folder }}/a"', "source: 12", 14, "valid string", ""),
    "an unknown kind": ("uses: files.copy", "uses: file.copy", 13, "unknown step kind 'file.copy'", "Did you mean files.copy?"),
    "an undefined name": ("${{ vars.folder }}", "${{ vars.foldr }}", 14, "undefined name 'vars.foldr'", "Did you mean vars.folder?"),
    "an undefined root": ("${{ vars.folder }}", "${{ var.folder }}", 14, "undefined name 'var.folder'", "Did you mean vars?"),
    "a broken expression": ("${{ vars.folder }}", "${{ vars.folder + }}", 14, "cannot read the expression", ""),
    "an unknown output": ('echo "${{ steps.copy.outputs.path }}"', "echo ${{ steps.copy.outputs.pat }}", 17, "no such output", "path"),
    "an output of a later step": ('source: "${{ vars.folder }}/a"', 'source: "${{ steps.copy.outputs.path }}"', 14, "not known yet", ""),
    "a step id twice": ("id: tell", "id: copy", 16, "stands here twice", "own id"),
    "a step without id": ("  - id: tell\n    run:", "  - run:", 16, "no id", "Add id:"),
    "both uses and run": ("run: echo", "uses: look\n    run: echo", 16, "either uses: or run:", ""),
    "a need that is no step above": ("needs: [copy]", "needs: [tell]", 19, "no step above", ""),
    "a secret in a command": ("'two words'", "${{ secrets.key }}", 17, "a secret may not stand here", "env: or files:"),
    "an undeclared secret": ("${{ secrets.key }}", "${{ secrets.kee }}", 18, "undefined name 'secrets.kee'", "secrets:"),
    "an unknown source": ("from: env", "from: envv", 5, "unknown secret source", "Did you mean env?"),
    "an unknown promotion source": ("promoted_from: staging", "promoted_from: stage", 8, "no environment 'stage'", "staging"),
    "a step that changes something among the checks": ("  - uses: look", "  - uses: files.copy\n    with: { source: a }", 10, "changes something", ""),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "message", "hint"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_its_line_and_a_hint(load, old, new, line, message, hint):
    assert old in GOOD

    problems = problems_of(load, GOOD.replace(old, new, 1))

    found = [p for p in problems if message in p.message]
    assert found, [str(p) for p in problems]
    assert found[0].line == line
    assert hint in found[0].hint


FOR_SCRIPTS = "Loops, definitions and imports are for a script"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{% for x in vars %}a{% endfor %}", "a runbook has no {% for %}", FOR_SCRIPTS),
        ("{%- macro f(x) %}{% endmacro %}", "a runbook has no {% macro %}", FOR_SCRIPTS),
        ("{% import 'os' as os %}", "a runbook has no {% import %}", FOR_SCRIPTS),
        ("{% include '/etc/passwd' %}", "a runbook has no {% include %}", FOR_SCRIPTS),
        ("{% if vars.folder %}x{% endif %}", "a runbook has no {% if %}", "left out by if:"),
        ("{% set x = 1 %}", "a runbook has no {% set %}", FOR_SCRIPTS),
        ("${{ [x for x in vars.folder] }}", "cannot read the expression", FOR_SCRIPTS),
        ("${{ for x in vars.folder }}", "cannot read the expression", FOR_SCRIPTS),
        ("${{ import os }}", "cannot read the expression", FOR_SCRIPTS),
        ("${{ lambda: 1 }}", "cannot read the expression", FOR_SCRIPTS),
        ("${{ vars.folder = 3 }}", "cannot read the expression", "It is a value"),
        ("${{ range(3) }}", "undefined name 'range'", "Expressions begin with one of"),
        ("${{ cycler(1) }}", "undefined name 'cycler'", "Expressions begin with one of"),
    ],
)
def test_loops_and_cleverness_are_refused_kindly(load, text, message, hint):
    old = 'source: "${{ vars.folder }}/a"'

    [problem] = problems_of(load, GOOD.replace(old, f'source: "{text}"'))

    assert problem.line == 14
    assert problem.message.startswith(message)
    assert hint in problem.hint


@pytest.mark.parametrize("text", ["%{http_code}", "+%Y{%s}", "{%d%%}", "100 %} {%", "{# not a comment #}"])
def test_what_only_looks_like_it_is_text(load, text):
    old = 'source: "${{ vars.folder }}/a"'

    assert load(GOOD.replace(old, f'source: "{text}"')).spec.steps[0].with_["source"] == text


@pytest.mark.parametrize("word", ["yes", "no", "on", "OFF", "True", "0063", "0x1F", "22:22", "1_000", "0o17"])
def test_a_word_that_yaml_readers_disagree_on_is_refused_unless_quoted(load, word):
    problems = problems_of(load, GOOD.replace("/srv", word))

    assert problems[0].line == 3
    assert f"'{word}'" in problems[0].hint
    assert load(GOOD.replace("/srv", f"'{word}'")).spec.vars["folder"] == word


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "anchors and aliases"),
        ("a: !!python/object:os.system x\n", "tag"),
        ("a: [1, 2\n", "not valid YAML"),
        ("a:\n\t- b\n", "not valid YAML"),
        ("- 1\n", "mapping of keys"),
        ("", "mapping of keys"),
        ("a: " + "[" * 100 + "]" * 100, "nested deeper"),
        ("? [a]\n: b\n", "plain text"),
        ("<<: {a: 1}\n", "plain text"),
        ("a: \x07\n", "not"),
    ],
)
def test_yaml_that_is_broken_or_too_clever_is_refused(load, text, message):
    assert message in problems_of(load, text)[0].message


def test_an_absent_runbook_is_said_to_be_absent(tmp_path):
    with pytest.raises(RunbookError, match="no runbook here"):
        load_runbook(tmp_path / "none.yaml", KINDS, SOURCES, begins=True)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    file = tmp_path / "runbook.yaml"
    file.write_bytes(b"version: 1\nname: \xff\n")

    with pytest.raises(RunbookError) as caught:
        load_runbook(file, KINDS, SOURCES, begins=True)

    assert caught.value.problems[0].line == 2


def test_all_problems_are_said_at_once_in_file_order(load):
    text = GOOD.replace("vars:", "varz:").replace("timeout:", "timeuot:").replace("within:", "withn:")

    assert [p.line for p in problems_of(load, text)] == [3, 7, 8, 20]


def test_an_expression_is_one_word_of_a_command_whatever_it_holds(load):
    from deployguard.runbook.load import with_of

    _, values = with_of(load(GOOD).spec.steps[1])

    assert values["command"] == ["echo", "${{ steps.copy.outputs.path }}", "two words"]


def test_no_expression_may_stand_in_the_text_of_a_shell_command(load):
    text = GOOD.replace("run: echo", "shell: true\n    run: echo")

    assert any("shell command" in p.message for p in problems_of(load, text))


def test_the_runbook_at_the_top_of_the_repository_is_valid():
    from deployguard.secret_sources import SOURCES
    from deployguard.steps import all_kinds

    runbook = load_runbook(Path(__file__).parents[2] / "runbook.yaml", all_kinds(), SOURCES, begins=True)

    assert set(runbook.spec.environments) == {"staging", "production"}
