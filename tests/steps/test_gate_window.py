"""When a window is open, and when it opens next."""

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from checking import context
from pydantic import ValidationError

from deployguard.clock import SystemClock
from deployguard.errors import Refused, Waiting
from deployguard.steps.freeze import frozen_days
from deployguard.steps.gate_window import GateWindow

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


def days(text):
    return frozen_days(text, ZoneInfo("Europe/Berlin"), date(2026, 12, 1), date(2027, 12, 1))


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
    assert OFFICE.opens(at("2026-12-23T16:00"), frozenset(days(CALENDAR))) == at("2026-12-28T08:00")


def test_frozen_days_come_from_a_calendar_or_a_list():
    assert list(days(CALENDAR)) == [date(2026, 12, 24 + n) for n in range(3)] + [date(2027, 1, 1)]
    assert list(days("2026-12-24 # eve\n\n2026-12-31\n")) == [date(2026, 12, 24), date(2026, 12, 31)]


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


class At(SystemClock):
    def __init__(self, now):
        self._now = now

    def now(self):
        return self._now


def gate(tmp_path, text, now, window="Mon-Sun 00:00-23:59 Europe/Berlin"):
    (tmp_path / "freeze").write_text(text)
    given = context(tmp_path)
    given = replace(given, target=replace(given.target, clock=At(at(now))))
    return GateWindow(window=window, freeze_file="freeze").execute(given)


def event(*lines):
    return "\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""])


FROZEN = {
    "a listed day": "2026-12-24\n",
    "each year": event("DTSTART;VALUE=DATE:20201224", "RRULE:FREQ=YEARLY"),
    "a duration": event("DTSTART;VALUE=DATE:20261222", "DURATION:P4D"),
    "the last day of an event with times": event("DTSTART:20261223T080000Z", "DTEND:20261224T180000Z"),
    "the next day of a zone": event("DTSTART;TZID=America/New_York:20261223T190000", "DURATION:PT30M"),
}


@pytest.mark.parametrize("what", FROZEN)
def test_the_gate_is_closed_on(tmp_path, what):
    with pytest.raises(Waiting):
        gate(tmp_path, FROZEN[what], "2026-12-24T12:00")
    assert gate(tmp_path, FROZEN[what], "2026-12-29T12:00").status == "pass"


def test_a_cancelled_freeze_freezes_nothing(tmp_path):
    text = event("DTSTART;VALUE=DATE:20261224", "STATUS:CANCELLED")

    assert gate(tmp_path, text, "2026-12-24T12:00").status == "pass"


def test_a_window_over_midnight_ends_where_a_frozen_day_begins(tmp_path):
    with pytest.raises(Waiting):
        gate(tmp_path, "2026-12-24\n", "2026-12-24T00:30", window="Wed 22:00-02:00 UTC")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (event("DTSTART;VALUE=DATE:20261224", "RRULE:FREQ=SOMETIMES"), "RRULE"),
        (event("DTSTART;TZID=Mars/Base:20261224T100000", "DURATION:PT1H"), "time zone"),
        (event("SUMMARY:freeze"), "without DTSTART"),
        (event("UID:1", "DTSTART:20261224", "END:VEVENT", "BEGIN:VEVENT", "UID:1", "DTSTART:20261225"), "same UID"),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20261224\n", "freeze"),
        ("next Friday", "freeze"),
    ],
)
def test_a_freeze_that_cannot_be_read_is_refused(tmp_path, text, why):
    with pytest.raises(Refused, match=why):
        gate(tmp_path, text, "2026-12-24T12:00")
