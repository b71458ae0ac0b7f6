"""`gate.approval`: whose yes counts, for how long, and for what."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from checking import context

from deployguard.errors import StepFailed, Waiting
from deployguard.steps.base import Answer
from deployguard.steps.gate_approval import GateApproval


@pytest.fixture
def asked(tmp_path):
    """The gate, asked after people have answered."""

    def asked(*answers, **settings):
        given = replace(context(tmp_path), answers=answers, starter="ada", run="r-1", step="go")
        return GateApproval(**settings).execute(given)

    return asked


def yes(who, *, ago=0.0, current=True, verdict="approve"):
    return Answer(verdict, who, "seen", datetime.now(UTC) - timedelta(seconds=ago), current=current)


def test_as_many_different_people_as_asked_for_must_approve(asked):
    with pytest.raises(Waiting, match="1 of 2 approvals"):
        asked(yes("grace"), yes("grace"), count=2)

    assert asked(yes("grace"), yes("linus"), count=2).summary == "approved by grace, linus"


def test_an_approval_expires(asked):
    assert asked(yes("grace", ago=3500), expires="1h").status == "pass"

    with pytest.raises(Waiting, match="0 of 1"):
        asked(yes("grace", ago=3700), expires="1h")


def test_only_what_was_approved_counts(asked):
    with pytest.raises(Waiting, match="0 of 1"):
        asked(yes("grace", current=False))


@pytest.mark.parametrize(("who", "settings"), [("ada", {}), ("mallory", {"by": ["grace"]})])
def test_neither_the_starter_nor_a_stranger_counts(asked, who, settings):
    with pytest.raises(Waiting):
        asked(yes(who), **settings)

    assert asked(yes("ada"), not_starter=False).status == "pass"


def test_a_later_answer_of_the_same_person_is_theirs(asked):
    with pytest.raises(StepFailed, match="rejected by grace"):
        asked(yes("grace", ago=10), yes("grace", verdict="reject"))


def test_a_no_of_somebody_who_may_not_answer_is_not_heard(asked):
    assert asked(yes("mallory", verdict="reject"), yes("grace"), by=["grace"]).status == "pass"
