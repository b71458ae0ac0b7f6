"""`clock.skew`: a server with another idea of the time is found, whatever the product."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from checking import SITE, application, context, write
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
    # on a busy machine the question may take seconds, and nobody knows when in them it was answered
    assert abs(outcome.evidence["skew"]) < 1 + outcome.evidence["doubt"]


@pytest.mark.parametrize("product", ["postgres", "mariadb"])
@pytest.mark.parametrize(("off", "says"), [(-90, "ahead of"), (3700, "behind")])
def test_a_server_with_another_time_is_a_fault_and_its_direction_is_said(request, check, product, off, says):
    outcome = check(request.getfixturevalue(product), off)

    assert outcome.status == "fail"
    assert abs(outcome.evidence["skew"] + off) < 1 + outcome.evidence["doubt"]
    assert says in outcome.summary
    assert "time synchronisation" in outcome.hint


def test_a_session_in_another_time_zone_is_no_skew(check, mariadb):
    mariadb.run("SET GLOBAL time_zone = '+09:00'")
    try:
        assert check(mariadb).evidence["skew"] == pytest.approx(0, abs=60)
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


# -- time zones


@pytest.fixture
def zone(monkeypatch):
    """Put this machine into another time zone."""

    def zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("product", ["postgres", "mariadb"])
def test_a_server_in_another_time_zone_is_a_warning_that_says_by_how_much(request, check, product, zone):
    store = request.getfixturevalue(product)
    zone("UTC")
    same = check(store)
    zone("Etc/GMT-5")

    outcome = check(store)

    assert (same.status, outcome.status) == ("pass", "warn")
    assert "the database's time zone is 5 h behind this machine's" in outcome.summary
    assert "Set both to UTC" in outcome.hint


def test_the_zone_is_the_servers_and_not_our_sessions(check, postgres, zone):
    zone("UTC")
    postgres.run(f"ALTER DATABASE {postgres.url.rpartition('/')[2]} SET timezone TO 'Etc/GMT-2'")

    assert "2 h ahead of this machine's" in check(postgres).summary


def test_a_wrong_clock_is_a_fault_whatever_the_zones(check, postgres, zone):
    zone("Etc/GMT-5")

    assert check(postgres, 3700).status == "fail"


@pytest.mark.parametrize("product", ["postgres", "mariadb", "sqlite"])
def test_a_server_that_does_not_know_the_applications_zone_is_a_warning(request, tmp_path, product, zone):
    zone("UTC")
    store = request.getfixturevalue(product)
    folder = write(
        tmp_path / "site",
        {**SITE, "site_settings.py": SITE["site_settings.py"] + '    TIME_ZONE = "Europe/Berlin"\n'},
    )

    outcome = ClockSkew().execute(context(folder, app=application(folder), url=store.url))

    assert (outcome.status == "warn") == (product == "mariadb")
    assert ("does not know the application's time zone Europe/Berlin" in outcome.summary) == (product == "mariadb")
