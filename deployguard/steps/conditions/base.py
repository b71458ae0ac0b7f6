"""What every condition promises to checks, gates and monitors."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, ConfigDict

from deployguard.steps.base import Context

Cursor = dict[str, Any]
"""Where a look ended, plain JSON: the next process goes on from it."""


@dataclass(frozen=True)
class Observation:
    """One look at a condition.

    Attributes:
        ok: whether it holds.
        value: what was seen, fit for a report: never a line of a log or a row.
        cursor: where the next look begins.
        unread: how many stretches of what is watched were gone before anybody looked, in all looks so far.
    """

    ok: bool
    value: str
    cursor: Cursor | None = None
    unread: int = 0


Look = Callable[[], Observation]


class Condition(BaseModel):
    """Something that is to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    def name(self) -> str:
        """What it is called in the report; several conditions may have the same one."""
        raise NotImplementedError

    def former_name(self) -> str:
        """What journals from before names were made unique call it."""
        return self.name()

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:
        """Begin to look; each call of the result looks once.

        Args:
            context: of the step.
            cursor: where an earlier process had ended; None: now is the beginning.
        """
        raise NotImplementedError


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


Pattern = Annotated[str, pydantic.AfterValidator(_pattern)]


def is_address(text: str, schemes: Collection[str]) -> bool:
    """Whether an address has one of the schemes, a host, and a port that there can be."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _page(text: str) -> str:
    # an empty one is of a step that its `if:` leaves out
    if text and not is_address(text, {"http", "https"}):
        raise ValueError("write http://host/ or https://host/")
    return text


Page = Annotated[str, pydantic.AfterValidator(_page)]

_COMPARISON = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(-?[0-9.]+)\s*")


def holds(value: float, expected: float | str) -> bool:
    """Whether a number is the expected one, or compares with it as `< 10` says."""
    if isinstance(expected, str) and (match := _COMPARISON.fullmatch(expected)):
        sign, bound = match[1], float(match[2])
        return {
            "<": value < bound, "<=": value <= bound, ">": value > bound,
            ">=": value >= bound, "==": value == bound, "!=": value != bound,
        }[sign]  # fmt: skip
    return value == float(expected)


def _expected(value: float | str) -> float | str:
    try:
        holds(0.0, value)
    except ValueError:
        raise ValueError("write a number, or a comparison such as '< 10'") from None
    return value


Expected = Annotated[int | float | str, pydantic.AfterValidator(_expected)]
