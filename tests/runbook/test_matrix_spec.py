"""A matrix is one list of items known beforehand; whatever else is written there is refused with its line and a hint."""

import pytest

from deployguard.engine.plan import Selection, make_plan
from deployguard.errors import RunbookError, UsageError
from deployguard.runbook.load import load_runbook
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds

GOOD = """\
version: 1
name: tenants
vars: { tenants: [acme, globex], region: eu }
secrets:
  acme: { from: env, name: ACME }
environments:
  staging: { vars: { tenants: [acme] } }
  production: {}
preflight:
  - id: reachable
    uses: database.reachable
    matrix: { tenant: "${{ vars.tenants }}" }
    database: postgresql://${{ secrets[matrix.tenant] }}@db/${{ matrix.tenant }}
steps:
  - id: copy
    matrix: { tenant: "${{ vars.tenants }}" }
    max_parallel: 2
    run: copy ${{ matrix.tenant }} ${{ vars.region }}
    outputs: [path]
    rollback: { run: "remove ${{ matrix.tenant }}" }
  - id: look
    matrix: { tenant: "${{ vars.tenants }}" }
    if: matrix.tenant != 'globex'
    run: look ${{ steps.copy.outputs.path }}
    env: { TENANT: "${{ matrix.tenant }}" }
  - id: last
    run: echo done
"""
COPY = 'tenant: "${{ vars.tenants }}" }\n    max_parallel'
LOOK = 'tenant: "${{ vars.tenants }}" }\n    if: matrix'

WRONG = {
    "no list": (COPY, "tenant: acme }\n    max_parallel", 16, "matrix.tenant: a matrix is a list of items", "Write { NAME: [one, two] }"),
    "no name": ('{ tenant: "${{ vars.tenants }}" }\n    max_parallel', "[acme]\n    max_parallel", 16, "a matrix names one list", "Write { NAME"),
    "two lists": (COPY, "tenant: [a1], colour: [red] }\n    max_parallel", 16, "a matrix names one list", "Write { NAME"),
    "an empty list": (COPY, "tenant: [] }\n    max_parallel", 16, "matrix.tenant: the matrix is empty", "remove it, or name an item"),
    "an item twice": (COPY, "tenant: [acme, globex, acme] }\n    max_parallel", 16, "the item 'acme' stands here twice", "it stands once"),
    "an item twice, as number and as text": (COPY, "tenant: [1, '1'] }\n    max_parallel", 16, "the item '1' stands here twice", "it stands once"),
    "an item that is no word": (COPY, "tenant: ['a b'] }\n    max_parallel", 16, "'a b' cannot be an item", "letters, digits, and _ . -"),
    "an item that is a path": (COPY, "tenant: [../acme] }\n    max_parallel", 16, "'../acme' cannot be an item", "letters, digits"),
    "an item that is a list": (COPY, "tenant: [[acme]] }\n    max_parallel", 16, "cannot be an item", "letters, digits"),
    "a name that no expression can use": (COPY, "db-name: [acme] }\n    max_parallel", 16, "'db-name' is no name that an expression can use", "matrix.NAME"),
    "none at the same time": ("max_parallel: 2", "max_parallel: 0", 17, "greater than or equal to 1", ""),
    "max_parallel without a matrix": ("run: echo done", "run: echo done\n    max_parallel: 2", 28, "max_parallel needs a matrix", "at the same time"),
    "max_parallel of checks": ("    database: postgresql", "    max_parallel: 2\n    database: postgresql", 13, "checks run one after another", "Remove max_parallel"),
    "an unknown item": ("copy ${{ matrix.tenant }}", "copy ${{ matrix.tenat }}", 18, "undefined name 'matrix.tenat'", "Did you mean matrix.tenant?"),
    "an item where there is no matrix": ("echo done", "echo ${{ matrix.tenant }}", 27, "there is no matrix here", "Write matrix: {"),
    "an item in its own list": (COPY, 'tenant: "${{ matrix.tenant }}" }\n    max_parallel', 16, "there is no matrix here", "Write matrix: {"),
    "items that only the run will know": (LOOK, 'tenant: "${{ steps.copy.outputs.path }}" }\n    if: matrix', 22, "is not known yet here", "before a run begins"),
    "a database that only the run will know": ("    env: { TENANT", '    database: "${{ run.id }}"\n    env: { TENANT', 25, "'run.id' is not known yet here", "before a run begins"),
    "one output for all items": ("echo done", "echo ${{ steps.copy.outputs.path }}", 27, "copy has one output for each item", "A step with the same matrix"),
    "a secret among the items": (COPY, 'tenant: ["${{ secrets.acme }}"] }\n    max_parallel', 16, "a secret may not stand here", "env: or files:"),
    "a computed secret in a command": ("echo done", "echo ${{ secrets[vars.region] }}", 27, "a secret may not stand here", "env: or files:"),
    "a computed step": ("echo done", "echo ${{ steps[vars.region].outputs.path }}", 27, "undefined name 'steps.*.outputs.path'", ""),
    "a database that the command is not told of": ("run: echo done", "run: echo done\n    database: sqlite:///a", 28, "its command is not told which", "Give it the URL in the step's env:"),
}  # fmt: skip


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "runbook.yaml"
        file.write_text(text, "utf-8")
        return load_runbook(file, all_kinds(), SOURCES, begins=True)

    return load


@pytest.fixture
def plan(load):
    def plan(text=GOOD, environment="production", **given):
        return make_plan(load(text), environment, all_kinds(), env={"TENANTS": "acme,globex", "NONE": ""}, **given)

    return plan


def ids(plan):
    return [step.id for step in plan.steps]


@pytest.mark.parametrize(("old", "new", "line", "message", "hint"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_with_its_line_and_a_hint(load, old, new, line, message, hint):
    assert GOOD.count(old) == 1, old

    with pytest.raises(RunbookError) as caught:
        load(GOOD.replace(old, new))

    found = [p for p in caught.value.problems if message in p.message]
    assert found, [str(p) for p in caught.value.problems]
    assert found[0].line == line
    assert hint in found[0].hint


@pytest.mark.parametrize(
    ("django", "keys", "told"),
    [
        ("{}", "", False),
        ("{ database_in: DATABASE_URL }", "", True),
        ("{}", "env: { DATABASE_URL: sqlite:///a }", True),
    ],
)
def test_an_application_that_is_not_told_of_a_steps_database_is_said(load, django, keys, told):
    step = f"  - id: verify\n    uses: encryption.verify\n    database: sqlite:///a\n    {keys}\n"
    text = GOOD.replace("environments:", f"django: {django}\nenvironments:") + step

    if told:
        load(text)
    else:
        with pytest.raises(RunbookError, match="the application is not told which") as caught:
            load(text)
        assert "database_in: under django:" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("${{ vars.region }}", "step copy: matrix.tenant: a matrix is a list of items", "env.NAME.split(',')"),
        ("${{ env.TENANTS }}", "step copy: matrix.tenant: a matrix is a list of items", "env.NAME.split(',')"),
        ("${{ env.NONE.split() }}", "step copy: matrix.tenant: the matrix is empty", "remove it"),
        ("${{ (env.TENANTS ~ ',acme').split(',') }}", "the item 'acme' stands here twice", "it stands once"),
        ("${{ env.TENANTZ.split(',') }}", "the environment variable TENANTZ is not set", "default"),
    ],
)
def test_what_the_environment_shows_to_be_wrong_is_said_with_its_line(plan, given, message, hint):
    with pytest.raises(RunbookError) as caught:
        plan(GOOD.replace("${{ vars.tenants }}", given))

    found = {p.line: p.hint for p in caught.value.problems if message in p.message}
    assert hint in found[16]


def test_each_item_is_a_step_of_its_own_in_the_order_of_the_list(plan):
    assert ids(plan()) == ["copy[acme]", "copy[globex]", "look[acme]", "look[globex]", "last"]
    assert ids(plan(environment="staging")) == ["copy[acme]", "look[acme]", "last"]
    assert [c.id for c in plan().checks] == ["reachable[acme]", "reachable[globex]"]


def test_the_items_may_come_from_the_environment(plan):
    text = GOOD.replace("${{ vars.tenants }}", "${{ env.TENANTS.split(',') }}")

    assert ids(plan(text))[:2] == ["copy[acme]", "copy[globex]"]


def test_each_step_and_its_undo_see_their_item(plan):
    steps = plan().steps

    assert [s.values["command"] for s in steps[:2]] == [["copy", "acme", "eu"], ["copy", "globex", "eu"]]
    assert [s.rollback.values["command"] for s in steps[:2]] == [["remove", "acme"], ["remove", "globex"]]
    assert [s.rollback.id for s in steps[:2]] == ["copy[acme]", "copy[globex]"]


def test_the_digest_is_of_the_items_too(plan):
    text = GOOD.replace("${{ vars.tenants }}", "${{ env.TENANTS.split(',') }}")

    assert plan(text).digest == plan(text).digest
    assert plan(text).digest != plan(text.replace("env.TENANTS", "'acme,initech'")).digest


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(only=("copy",)), ["copy[acme]", "copy[globex]"]),
        (Selection(only=("copy[globex]", "last")), ["copy[globex]", "last"]),
        (Selection(skip=("look",)), ["copy[acme]", "copy[globex]", "last"]),
        (Selection(skip=("copy[acme]",)), ["copy[globex]", "look[acme]", "look[globex]", "last"]),
        (Selection(first="look"), ["look[acme]", "look[globex]", "last"]),
        (Selection(first="look[globex]"), ["look[globex]", "last"]),
    ],
)
def test_a_person_names_one_item_or_all_of_them(plan, selection, selected):
    assert [s.id for s in plan(selection=selection).steps if s.selected] == selected


def test_an_item_that_there_is_not_is_refused_by_the_names_that_there_are(plan):
    with pytest.raises(UsageError, match=r"there is no step 'copy\[acm\]'") as caught:
        plan(selection=Selection(only=("copy[acm]",)))

    assert "Did you mean copy[acme]?" in caught.value.hint
