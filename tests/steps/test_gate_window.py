"""When a window is open, and when it opens next."""

from datetime import UTC, date, datetime

import pytest
from pydantic import ValidationError

from deployguard.steps.gate_window import GateWindow, frozen_days

OFFICE = GateWindow(window="Mon-Thu 09:00-16:00 Europe/Berlin")
CALENDAR = """BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261227
END:VEVENT
BEGIN:VEVENT
DTSTART;VALUE=DATE:20270101
END:VEVENT
END:VCALENDAR
"""


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-24T08:00", None),  # a Tuesday, nine o'clock in Berlin
        ("2026-11-24T07:59", "2026-11-24T08:00"),
        ("2026-11-24T14:59", None),
        ("2026-11-24T15:00", "2026-11-25T08:00"),  # the end belongs to it no more
        ("2026-11-26T20:00", "2026-11-30T08:00"),  # over the weekend
        ("2026-03-27T08:00", "2026-03-30T07:00"),  # summer time has begun meanwhile
    ],
)
def test_office_hours_are_those_of_their_own_zone(now, opens):
    assert OFFICE.opens(at(now)) == (at(opens) if opens else None)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-27T23:30", None),
        ("2026-11-28T01:30", None),
        ("2026-11-28T02:00", "2026-12-04T22:00"),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_it_begins_on(now, opens):
    assert GateWindow(window="Fri 22:00-02:00 UTC").opens(at(now)) == (at(opens) if opens else None)


def test_days_may_go_around_the_end_of_the_week():
    weekend = GateWindow(window="Sat-Mon 00:00-23:59 UTC")

    assert weekend.opens(at("2026-11-30T12:00")) is None
    assert weekend.opens(at("2026-12-01T12:00")) == at("2026-12-05T00:00")


def test_a_frozen_day_is_passed_over():
    assert OFFICE.opens(at("2026-12-23T16:00"), frozenset(frozen_days(CALENDAR))) == at("2026-12-28T08:00")


def test_frozen_days_come_from_a_calendar_or_a_list():
    assert list(frozen_days(CALENDAR)) == [date(2026, 12, 24 + n) for n in range(3)] + [date(2027, 1, 1)]
    assert list(frozen_days("2026-12-24 # eve\n\n2026-12-31\n")) == [date(2026, 12, 24), date(2026, 12, 31)]


@pytest.mark.parametrize(
    "window",
    [
        "",
        "Mon-Thu 09:00-16:00",
        "Mon-Thu 9-16 UTC",
        "Moo 09:00-16:00 UTC",
        "Mon 25:00-26:00 UTC",
        "Mon 09:00-10:00 Mars/Base",
    ],
)
def test_what_is_no_window_is_refused(window):
    with pytest.raises(ValidationError):
        GateWindow(window=window)
