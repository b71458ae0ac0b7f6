"""`gate.window`: only at agreed hours, and not on frozen days."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from deployguard.errors import Refused, Waiting
from deployguard.steps.base import Check, Context, Outcome, Preview
from deployguard.steps.freeze import frozen_days

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?P<first>\w{3})(?:-(?P<last>\w{3}))? (?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) (?P<zone>\S+)")
_FAR = 400
"""Days that are looked ahead for the next opening."""
_DAY = timedelta(days=1)


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
    """An iCalendar file, or one date YYYY-MM-DD a line; from the runbook's folder.

    Each day that an event touches is frozen, repetitions too, in the window's zone.
    """

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
            if closing.date() != day and closing.date() in frozen:
                closing = datetime.combine(closing.date(), time(), zone)
            if now < closing:
                return None if now >= opening else opening
        raise Refused(f"the window {self.window} does not open within {_FAR} days", hint="Look at freeze:.")

    def _frozen(self, context: Context) -> frozenset[date]:
        if not self.freeze_file:
            return frozenset(self.freeze)
        path = context.target.project / self.freeze_file
        found = _WINDOW.fullmatch(self.window)
        assert found is not None, "the validator above"  # noqa: S101
        zone = ZoneInfo(found["zone"])
        today = context.target.clock.now().astimezone(zone).date()
        try:
            days = frozen_days(path.read_text("utf-8"), zone, today - _DAY, today + _FAR * _DAY)
            return frozenset({*self.freeze, *days})
        except (OSError, ValueError, LookupError, AttributeError) as error:
            why = error if type(error) is ValueError else type(error).__name__
            raise Refused(
                f"the freeze file {path} cannot be read ({why})",
                hint="It holds one date YYYY-MM-DD a line, or is an iCalendar file.",
            ) from None


def _days(first: str, last: str) -> frozenset[int]:
    begin, end = DAYS.index(first), DAYS.index(last)
    return frozenset((begin + n) % 7 for n in range((end - begin) % 7 + 1))


def _spelled(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M %Z}"
