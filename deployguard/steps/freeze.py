"""The days of a freeze file: a list of dates, or the events of an iCalendar file."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from deployguard.errors import Refused

_MOMENT = timedelta(microseconds=1)


def frozen_days(text: str, zone: tzinfo, first: date, last: date) -> Iterator[date]:
    """Days in `zone` from `first` to `last` that an event touches, repetitions too (RFC 5545), or that are listed.

    A cancelled event freezes nothing. What cannot be read with certainty is an error, never an open day.

    Raises:
        ValueError: a line is no date; or what the calendar holds that cannot be read, by name.
        Refused: the library that reads calendars is not installed.
    """
    if "BEGIN:VCALENDAR" not in text.upper():
        lines = (line.partition("#")[0].strip() for line in text.removeprefix("\ufeff").splitlines())
        yield from (date.fromisoformat(line) for line in lines if line)
        return
    try:
        import icalendar
        import recurring_ical_events
    except ImportError:
        raise Refused(
            "a freeze file that is a calendar needs icalendar and recurring-ical-events",
            hint="Run 'pip install deployguard[calendar]', or write one date YYYY-MM-DD a line.",
        ) from None
    calendar = icalendar.Calendar.from_ical(text)
    _refuse_doubt(calendar)
    begin = datetime.combine(first, time(), zone).astimezone(UTC) - timedelta(days=1)
    end = datetime.combine(last, time(), zone).astimezone(UTC) + timedelta(days=2)
    for event in recurring_ical_events.of(calendar).between(begin, end):
        if str(event.get("STATUS", "")).upper() != "CANCELLED":
            yield from _days_of(event.start, event.end, zone)


def _days_of(start: date | datetime, end: date | datetime, zone: tzinfo) -> Iterator[date]:
    first, last = _local(start, zone), max(_local(end, zone) - _MOMENT, _local(start, zone))
    yield from (first.date() + timedelta(days=n) for n in range((last.date() - first.date()).days + 1))


def _local(moment: date | datetime, zone: tzinfo) -> datetime:
    """Wall-clock time in the zone; a time without a zone of its own is that of the zone."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment


def _refuse_doubt(calendar: Any) -> None:  # noqa: ANN401 - a component of a library that is imported only above
    if calendar.walk("VFREEBUSY"):
        raise ValueError("VFREEBUSY: only events are read")
    events = calendar.walk("VEVENT")
    masters = Counter(str(e["UID"]) for e in events if "UID" in e and "RECURRENCE-ID" not in e)
    if any(often > 1 for often in masters.values()):
        raise ValueError("several events have the same UID")
    for event in events:
        if event.errors:
            raise ValueError(f"an event's {event.errors[0][0]} cannot be read")
        if "DTSTART" not in event:
            raise ValueError("an event without DTSTART")
        for name in ("DTSTART", "DTEND", "RECURRENCE-ID"):
            found = event.get(name)
            if found is not None and "TZID" in found.params and getattr(found.dt, "tzinfo", None) is None:
                raise ValueError(f"the time zone of an event's {name} is not known")
