"""Bad settings of every kind are refused while the runbook is read: named, with line and column, before anything runs."""

import pytest
import yaml

from deployguard.errors import RunbookError
from deployguard.runbook.load import load_runbook
from deployguard.secret_sources import SOURCES
from deployguard.steps import KINDS

WRONG = [{"no": ["such"]}, [{"no": "such"}], -1.5, "\0", True]
"""No setting takes all of these."""
OF_A_COMMAND = {"command", "shell", "done_if", "harmless_twice", "gives"}
"""Of `run:`, whose settings are keys of the step itself; tests/runbook/test_load.py has those."""


def problems(tmp_path, kind, given):
    """What is said of a runbook with one step of the kind, and nothing else in it."""
    step = {"id": "it", "uses": kind, "with": given}
    text = yaml.safe_dump(
        {"version": 1, "name": "bad", "environments": {"staging": {}}, "steps": [step]}, sort_keys=False
    )
    file = tmp_path / "runbook.yaml"
    file.write_text(text, "utf-8")
    try:
        load_runbook(file, KINDS, SOURCES, begins=True)
    except RunbookError as error:
        return text, error.problems
    return text, ()


def sensible(kind):
    """The settings of the kind's own example."""
    found = yaml.safe_load(KINDS[kind].example)[0]
    return found.get("with", {})


SETTINGS = [
    (kind, field.alias or name)
    for kind in KINDS
    for name, field in KINDS[kind].model_fields.items()
    if name not in OF_A_COMMAND
]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "run"])
def test_a_key_that_a_kind_does_not_know_is_refused_by_name(tmp_path, kind):
    text, found = problems(tmp_path, kind, {**sensible(kind), "nonsense": 1})

    [said] = [problem for problem in found if "nonsense" in problem.message]
    assert text.splitlines()[said.line - 1].strip().startswith("nonsense:")
    assert said.column > 1
    assert said.hint


@pytest.mark.parametrize(("kind", "key"), SETTINGS)
def test_a_value_that_a_setting_does_not_take_is_refused_at_its_place(tmp_path, kind, key):
    refused = 0
    for wrong in WRONG:
        text, found = problems(tmp_path, kind, {**sensible(kind), key: wrong})
        first = next(n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(f"{key}:"))
        mine = [problem for problem in found if problem.line >= first]
        assert all(problem.message and problem.hint for problem in mine)
        refused += bool(mine)

    assert refused, f"{kind} takes anything for {key}:"
