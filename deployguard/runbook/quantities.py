"""Durations, sizes and shares as people write them: `90s`, `24h`, `1h30m`, `500 MiB`, `1%`."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b)\s*", re.IGNORECASE)

_PERCENT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")


def seconds(value: Any) -> float:  # noqa: ANN401 - whatever stands in the file
    """Seconds of `value`: a number of seconds, or numbers with units (ms s m h d w).

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str):
        text, total, at = value.strip(), 0.0, 0
        while text and at < len(text) and (part := _PART.match(text, at)):
            total, at = total + float(part[1]) * _SECONDS[part[2]], part.end()
        if text and at == len(text):
            return total
    raise ValueError("a duration is a number with a unit, such as 30s, 10m, 24h or 7d")


def size(value: Any) -> int:  # noqa: ANN401 - whatever stands in the file
    """Bytes of `value`: a number of bytes, or a number with a unit (kB, MiB, GB …).

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(float(match[1]) * _BYTES[match[2].lower()])
    raise ValueError("a size is a number with a unit, such as 500MB or 2GiB")


def share(value: Any) -> float:  # noqa: ANN401 - whatever stands in the file
    """`value` as a part of one: 0.01, or `1%`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        value = float(match[1]) / 100
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError("a share is a percentage such as 1%, or a number from 0 to 1")


def spell(duration: float) -> str:
    """`duration` seconds as people say it: `0.4 s`, `12 s`, `3 min 05 s`, `25 h 00 min`."""
    if duration < 10:  # noqa: PLR2004 - below ten seconds a tenth is worth seeing
        return f"{duration:.1f} s"
    if duration < 60:  # noqa: PLR2004
        return f"{duration:.0f} s"
    minutes, rest = divmod(round(duration), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


Duration = Annotated[
    float, BeforeValidator(seconds), WithJsonSchema({"type": ["string", "number"], "examples": ["30s", "24h"]})
]
Size = Annotated[int, BeforeValidator(size), WithJsonSchema({"type": ["string", "integer"], "examples": ["500MiB"]})]
Share = Annotated[
    float, BeforeValidator(share), WithJsonSchema({"type": ["string", "number"], "examples": ["1%", 0.01]})
]
