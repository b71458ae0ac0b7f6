"""Sentences of a report: wording and data kept apart, so that data can never become markup."""

from dataclasses import dataclass
from datetime import datetime

_BINARY = 1024


@dataclass(frozen=True)
class Code:
    """A name, path, digest or command, set in a fixed-width face."""

    text: str


class Wording(str):
    """Our own words, which need no escaping; a plain `str` beside them is somebody else's."""

    __slots__ = ()


Prose = tuple[str | Code, ...]


def say(wording: str, *names: object) -> Prose:
    """A sentence of ours with `names` in the places marked `{}`; nothing from outside may stand in `wording`."""
    first, *rest = (Wording(part) for part in wording.split("{}"))
    parts: list[str | Code] = [first]
    for name, text in zip(names, rest, strict=True):
        parts += [Code(str(name)), text]
    return tuple(part for part in parts if part)


def amount(number: int, noun: str) -> str:
    """`1 row`, `5,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(count: int) -> str:
    """`512 B`, `1.5 MiB`; negative where something shrank."""
    value = float(abs(count))
    sign = "-" if count < 0 else ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _BINARY:
            return f"{sign}{value:.0f} B" if unit == "B" else f"{sign}{value:.1f} {unit}"
        value /= _BINARY
    return f"{sign}{value:.1f} TiB"


def moment(at: str) -> datetime:
    """A journal's time stamp."""
    return datetime.fromisoformat(at)


def clock(at: str | None) -> str:
    """`2026-03-06 14:05:09 UTC`."""
    return f"{moment(at):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def between(begin: str, end: str) -> float:
    """Seconds by the wall clock, never negative: somebody may have set it back."""
    return max(0.0, (moment(end) - moment(begin)).total_seconds())
