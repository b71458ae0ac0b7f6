"""What a check is told of the other environments, as far as it can be known here."""

import os

import pytest

from deployguard.clock import SystemClock
from deployguard.engine.plan import make_plan
from deployguard.engine.target import make_target
from deployguard.errors import Refused
from deployguard.journal.home import Home
from deployguard.runbook.load import load_runbook
from deployguard.secret_sources import SOURCES
from deployguard.steps import KINDS

RUNBOOK = """
version: 1
name: two
secrets: { key: { from: env, name: KEY } }
environments:
  staging: {}
  production:
    vars: { database: "${{ env.PRODUCTION_DATABASE_URL }}" }
    secrets: { key: { from: env, name: %s } }
steps: [{ id: work, run: "true" }]
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    def elsewhere(place, **env):
        for name, value in {"KEY": "staging's", **env}.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "runbook.yaml").write_text(RUNBOOK % place)
        runbook = load_runbook(tmp_path / "runbook.yaml", KINDS, SOURCES, begins=True)
        plan = make_plan(runbook, "staging", KINDS, env=os.environ)
        return make_target(plan, Home(tmp_path / "home"), SystemClock()).elsewhere["production"]

    return elsewhere


def test_a_secret_of_an_environment_whose_vars_are_not_known_here_is_fetched_all_the_same(elsewhere):
    assert elsewhere("PRODUCTION_KEY", PRODUCTION_KEY="production's").get("key").reveal() == "production's"


def test_one_that_is_not_set_here_is_said_to_be_that(elsewhere):
    with pytest.raises(Refused, match=r"PRODUCTION_KEY .* is not set"):
        elsewhere("PRODUCTION_KEY").get("key")


def test_one_whose_place_is_not_known_here_is_said_to_be_that(elsewhere):
    with pytest.raises(Refused, match=r"where production keeps the secret key is not known here: .*database"):
        elsewhere('"${{ vars.database }}"').get("key")
