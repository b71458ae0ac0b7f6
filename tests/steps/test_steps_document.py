"""docs/steps.md says what the kinds say, and their examples are valid."""

from pathlib import Path

import pytest
import yaml

from deployguard.steps import KINDS
from deployguard.steps.document import steps_page

PAGE = Path(__file__).parents[2] / "docs" / "steps.md"


def test_the_page_is_current():
    assert PAGE.read_text("utf-8") == steps_page(KINDS) + "\n", "python -m deployguard.steps.document > docs/steps.md"


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_what_it_is_for_what_each_key_means_and_how_it_is_used(name):
    section = steps_page({name: KINDS[name]}).partition(f"\n## {name}\n")[2]

    assert section.strip()
    assert "ndo" in section
    assert "Interrupted, " in section
    assert all(f"| `{field.alias or key}` |" in section for key, field in KINDS[name].model_fields.items())


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"run"}))
def test_every_example_is_valid(name):
    for step in yaml.safe_load(KINDS[name].example):
        for used in [step, *([step["rollback"]] if "rollback" in step else [])]:
            assert KINDS[used["uses"]].model_validate(used.get("with", {}))


def test_names_defaults_and_inner_keys_are_written_as_in_a_runbook():
    page = steps_page(KINDS)

    assert "| `search` | duration | `2m` |" in page
    assert "| `at_least` | size | `512MiB` |" in page
    assert "| `on_use` | one of `fail`, `warn` | `fail` |" in page
    assert "Each of `allow`:" in page
    assert "| `reason` | text | required | Why it may, in words; the report repeats them. |" in page
