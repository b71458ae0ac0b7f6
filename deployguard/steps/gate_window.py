"""`gate.window`: only at agreed hours, and not on frozen days."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from deployguard.errors import Refused, Waiting
from deployguard.steps.base import Check, Context, Outcome, Preview

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?P<first>\w{3})(?:-(?P<last>\w{3}))? (?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) (?P<zone>\S+)")
_DATE = re.compile(r"^DT(START|END)[^:]*:(\d{8})", re.MULTILINE)
_FAR = 400
"""Days that are looked ahead for the next opening."""


def _window(text: str) -> str:
    found = _WINDOW.fullmatch(text.strip())
    if found is None or {found["first"].lower(), (found["last"] or "mon").lower()} - {*DAYS}:
        raise ValueError("a window is written 'Mon-Thu 09:00-16:00 Europe/Berlin'")
    try:
        ZoneInfo(found["zone"])
        for part in ("begin", "end"):
            time.fromisoformat(found[part])
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{found['zone']} {found['begin']}-{found['end']} is no zone or no time") from None
    return text.strip()


class GateWindow(Check):
    """Wait until the clock is inside the window and the day is not frozen.

    Days, hours and zone are those of the window; the end belongs to it no more. A window
    whose end is before its begin goes over midnight and belongs to the day it begins on.
    """

    uses: ClassVar[str] = "gate.window"
    example: ClassVar[str] = (
        '- id: office-hours\n  uses: gate.window\n  with: { window: "Mon-Thu 09:00-16:00 Europe/Berlin", '
        "freeze: [2026-12-24] }"
    )

    window: Annotated[str, AfterValidator(_window)]
    freeze: tuple[date, ...] = ()
    """Days on which nothing may begin."""
    freeze_file: str = ""
    """An iCalendar file, or one date YYYY-MM-DD a line; from the runbook's folder. All-day events are frozen."""

    def preview(self, context: Context) -> Preview:
        """Whether it is open now, and when it opens."""
        opens = self.opens(context.target.clock.now(), self._frozen(context))
        return Preview(summary="open now" if opens is None else f"opens at {_spelled(opens)}")

    def execute(self, context: Context) -> Outcome:
        """Look at the clock once.

        Raises:
            Waiting: it is closed; says until when.
        """
        now = context.target.clock.now()
        opens = self.opens(now, self._frozen(context))
        if opens is not None:
            raise Waiting(
                f"outside the window {self.window}; it opens at {_spelled(opens)}",
                hint="Run 'deployguard deploy --resume' then, by hand or by a timer.",
                until=opens.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            )
        return Outcome(f"inside the window {self.window}", evidence={"at": now.isoformat(timespec="seconds")})

    def opens(self, now: datetime, frozen: frozenset[date] = frozenset()) -> datetime | None:
        """When the window opens next; None while it is open.

        Raises:
            Refused: it does not open within a year.
        """
        found = _WINDOW.fullmatch(self.window)
        assert found is not None, "the validator above"  # noqa: S101
        zone = ZoneInfo(found["zone"])
        begin, end = time.fromisoformat(found["begin"]), time.fromisoformat(found["end"])
        days = _days(found["first"].lower(), (found["last"] or found["first"]).lower())
        today = now.astimezone(zone).date()
        for offset in range(-1, _FAR):
            day = today + timedelta(days=offset)
            if day.weekday() not in days or day in frozen:
                continue
            opening = datetime.combine(day, begin, zone)
            closing = datetime.combine(day + timedelta(days=end <= begin), end, zone)
            if now < closing:
                return None if now >= opening else opening
        raise Refused(f"the window {self.window} does not open within {_FAR} days", hint="Look at freeze:.")

    def _frozen(self, context: Context) -> frozenset[date]:
        if not self.freeze_file:
            return frozenset(self.freeze)
        path = context.target.project / self.freeze_file
        try:
            return frozenset({*self.freeze, *frozen_days(path.read_text("utf-8"))})
        except (OSError, ValueError) as error:
            raise Refused(
                f"the freeze file {path} cannot be read ({type(error).__name__})",
                hint="It holds one date YYYY-MM-DD a line, or is an iCalendar file.",
            ) from None


def frozen_days(text: str) -> Iterator[date]:
    """The days of an iCalendar file's events (RFC 5545; the end day is not part of an event), or of a list.

    Raises:
        ValueError: a line is no date.
    """
    if "BEGIN:VCALENDAR" not in text:
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        yield from (date.fromisoformat(line) for line in lines if line)
        return
    for event in text.split("BEGIN:VEVENT")[1:]:
        found = {which: date.fromisoformat(day) for which, day in _DATE.findall(event)}
        first = found.get("START")
        if first is None:
            raise ValueError("an event without a beginning")
        last = max(found.get("END", first + timedelta(days=1)), first + timedelta(days=1))
        yield from (first + timedelta(days=n) for n in range((last - first).days))


def _days(first: str, last: str) -> frozenset[int]:
    begin, end = DAYS.index(first), DAYS.index(last)
    return frozenset((begin + n) % 7 for n in range((end - begin) % 7 + 1))


def _spelled(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M %Z}"
