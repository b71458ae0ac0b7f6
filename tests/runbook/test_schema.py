"""The schema that editors complete and check runbooks with agrees with what deployguard reads."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from deployguard.runbook.schema import runbook_schema
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def schema():
    made = runbook_schema(all_kinds(), SOURCES)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.fixture
def runbook():
    return yaml.safe_load((ROOT / "runbook.yaml").read_text("utf-8"))


def test_the_runbook_at_the_top_of_the_repository_fits(schema, runbook):
    assert [error.message for error in schema.iter_errors(runbook)] == []


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ((), "varz", {}),
        (("steps", 0), "usess", "backup.create"),
        (("steps", 0), "uses", "backup.creat"),
        (("steps", 0, "with"), "verified", True),
        (("preflight", "disk.space", "with"), "factor", "often"),
        (("secrets", "encryption_key"), "from", "envelope"),
        (("environments", "production"), "on_failure", "panic"),
        (("steps", 0), "matrix", {}),
        (("steps", 0), "matrix", {"tenant": []}),
        (("steps", 0), "matrix", {"tenant": "acme"}),
        (("steps", 0), "max_parallel", 0),
    ],
)
def test_what_check_refuses_the_schema_refuses_too(schema, runbook, place, key, value):
    part = runbook
    for step in place:
        part = next(p for p in part if p["uses"] == step) if step == "disk.space" else part[step]
    part[key] = value

    assert list(schema.iter_errors(runbook))


def test_an_expression_may_stand_where_a_number_is_meant(schema, runbook):
    room = next(check for check in runbook["preflight"] if check["uses"] == "disk.space")
    room["with"]["factor"] = "${{ vars.watch }}"
    room["matrix"] = {"tenant": "${{ vars.tenants }}"}

    assert not list(schema.iter_errors(runbook))
