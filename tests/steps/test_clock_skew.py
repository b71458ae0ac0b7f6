"""`clock.skew`: a server with another idea of the time is found, whatever the product."""

from dataclasses import replace
from datetime import timedelta

import pytest
from checking import context
from pydantic import ValidationError

from deployguard.clock import SystemClock
from deployguard.steps.clock_skew import ClockSkew


class Wrong(SystemClock):
    """A machine whose clock is off; the server's is right."""

    def __init__(self, seconds):
        self.off = timedelta(seconds=seconds)

    def now(self):
        return super().now() + self.off


@pytest.fixture
def check(tmp_path):
    def check(store, off=0.0, **settings):
        given = context(tmp_path, url=store.url)
        target = replace(given.target, clock=Wrong(off))
        return ClockSkew(**settings).execute(replace(given, target=target))

    return check


@pytest.mark.parametrize("product", ["postgres", "mariadb"])
def test_a_server_with_the_same_time_passes(request, check, product):
    outcome = check(request.getfixturevalue(product))

    assert outcome.status == "pass"
    assert abs(outcome.evidence["skew"]) < 1


@pytest.mark.parametrize("product", ["postgres", "mariadb"])
@pytest.mark.parametrize(("off", "says"), [(-90, "ahead of"), (3700, "behind")])
def test_a_server_with_another_time_is_a_fault_and_its_direction_is_said(request, check, product, off, says):
    outcome = check(request.getfixturevalue(product), off)

    assert outcome.status == "fail"
    assert abs(outcome.evidence["skew"] + off) < 1
    assert says in outcome.summary
    assert "time synchronisation" in outcome.hint


def test_a_session_in_another_time_zone_is_no_skew(check, mariadb):
    mariadb.run("SET GLOBAL time_zone = '+09:00'")
    try:
        assert check(mariadb).status == "pass"
    finally:
        mariadb.run("SET GLOBAL time_zone = 'SYSTEM'")


def test_a_difference_that_is_allowed_passes(check, postgres):
    assert check(postgres, -90, at_most="5m").status == "pass"


def test_a_file_has_no_clock_of_its_own(check, sqlite):
    assert "no clock of its own" in check(sqlite, 3600).summary


@pytest.mark.parametrize("value", ["soon", 0, -1])
def test_a_limit_that_means_nothing_is_refused(value):
    with pytest.raises(ValidationError):
        ClockSkew(at_most=value)
