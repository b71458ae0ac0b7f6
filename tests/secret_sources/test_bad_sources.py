"""Bad settings of every place for secrets are refused while the runbook is read: by name, with line, column and a hint."""

import pytest
import yaml

from deployguard.errors import RunbookError
from deployguard.runbook.load import load_runbook
from deployguard.secret_sources import SOURCES
from deployguard.steps import KINDS

WRONG = [{"no": ["such"]}, [{"no": "such"}], -1.5, True]
"""No setting takes all of these."""
GOOD = {
    "env": {"name": "KEY"},
    "file": {"path": "key"},
    "dotenv": {"name": "KEY"},
    "command": {"command": ["pass", "key"]},
    "keyring": {"service": "site", "username": "deploy"},
    "vault": {"path": "app", "field": "key"},
    "aws": {"secret": "app"},
    "azure": {"vault": "site", "secret": "key"},
    "gcp": {"project": "site", "secret": "key"},
    "kubernetes": {"mount": "/run/keys", "key": "field_key"},
}
SETTINGS = [(source, field.alias or name) for source in SOURCES for name, field in SOURCES[source].model_fields.items()]


def problems(tmp_path, source, given):
    """What is said of a runbook with one secret from the source, and its text."""
    runbook = {
        "version": 1, "name": "bad", "environments": {"staging": {}},
        "secrets": {"key": {"from": source, **given}}, "steps": [{"id": "it", "run": ["true"]}],
    }  # fmt: skip
    file = tmp_path / "runbook.yaml"
    file.write_text(yaml.safe_dump(runbook, sort_keys=False), "utf-8")
    try:
        load_runbook(file, KINDS, SOURCES, begins=True)
    except RunbookError as error:
        return error.problems
    return ()


def test_the_table_names_every_source_and_its_settings_are_good(tmp_path):
    assert set(GOOD) == set(SOURCES)
    for source, given in GOOD.items():
        assert problems(tmp_path, source, given) == (), source


def test_a_source_that_is_none_is_refused_with_those_there_are(tmp_path):
    [said] = problems(tmp_path, "nowhere", {})

    assert "nowhere" in said.message
    assert all(source in said.message + said.hint for source in SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_a_key_that_a_source_does_not_know_is_refused_by_name(tmp_path, source):
    [said] = [p for p in problems(tmp_path, source, {**GOOD[source], "nonsense": 1}) if "nonsense" in p.message]

    assert said.line > 1
    assert said.column > 1
    assert said.hint


@pytest.mark.parametrize(("source", "key"), [(source, key) for source, given in GOOD.items() for key in given])
def test_a_setting_that_is_missing_is_named(tmp_path, source, key):
    found = problems(tmp_path, source, {k: v for k, v in GOOD[source].items() if k != key})

    assert any(key in problem.message + problem.hint for problem in found)
    assert all(problem.hint for problem in found)


@pytest.mark.parametrize(("source", "key"), SETTINGS)
def test_a_value_that_a_setting_does_not_take_is_refused(tmp_path, source, key):
    refused = 0
    for wrong in WRONG:
        found = problems(tmp_path, source, {**GOOD[source], key: wrong})
        assert all(problem.message and problem.hint for problem in found)
        refused += bool(found)

    assert refused, f"{source} takes anything for {key}:"
