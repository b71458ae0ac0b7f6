"""What a log file and the system's journal share: lines in which a pattern must not appear, or must."""

import re
from collections.abc import Iterable
from typing import Annotated, Self

import pydantic
from pydantic import Field

from deployguard.runbook.quantities import Share
from deployguard.steps.conditions.base import Condition, Cursor, Observation, Pattern


class Tally:
    """What was counted in all looks, by this process or those before."""

    def __init__(self, pattern: str, cursor: Cursor | None) -> None:
        known = cursor or {}
        self._pattern = re.compile(pattern)
        self.seen, self.lines = known.get("seen", 0), known.get("lines", 0)
        self.unread = known.get("unread", 0)
        """How many stretches were gone before they could be read."""

    def take(self, lines: Iterable[bytes]) -> None:
        """Count them."""
        for line in lines:
            self.lines += 1
            self.seen += bool(self._pattern.search(line.decode("utf-8", "replace")))

    def facts(self) -> Cursor:
        """Its part of a cursor."""
        return {"seen": self.seen, "lines": self.lines, "unread": self.unread}


class Lines(Condition):
    """Lines in which a pattern must not appear, or must."""

    absent: Pattern | None = None
    """A regular expression that no new line may match."""
    present: Pattern | None = None
    """A regular expression that some line must match; this or `absent`."""
    whole: bool = False
    """Look at what is there already too, not only at what is added."""
    share: Share | None = None
    """With `absent`: the part of the new lines that may match all the same, an error rate; 1% is one in a hundred.
    Lines are judged together until there are `enough`."""
    enough: Annotated[int, Field(ge=1)] = 100
    """New lines before their share is judged."""

    @pydantic.model_validator(mode="after")
    def _one_pattern(self) -> Self:
        if (self.absent is None) == (self.present is None):
            raise ValueError("write absent: or present:, one of them")
        if self.share is not None and self.absent is None:
            raise ValueError("share: is the part of the lines that may match absent:, so it needs absent: only")
        return self

    def searched(self) -> str:
        """What is searched for, in words."""
        return f"without {self.absent}" if self.absent is not None else f"with {self.present}"

    def tally(self, cursor: Cursor | None) -> Tally:
        """Count on from where an earlier process had ended."""
        return Tally(self.absent if self.absent is not None else self.present or "", cursor)

    def judged(self, tally: Tally) -> tuple[bool, str]:
        """Whether what was counted is as it should be, and what was counted.

        With a share, of the lines since the last judgement; fewer than `enough` wait for more. The matching
        lines themselves may hold what a user typed: only how many there were goes on record.
        """
        if self.share is None:
            return (tally.seen > 0) is (self.absent is None), f"{tally.seen} matching lines"
        said = f"{tally.seen} of {tally.lines} lines match"
        if tally.lines < self.enough:
            return True, f"{said}, too few to judge"
        good = tally.seen <= self.share * tally.lines
        tally.seen = tally.lines = 0
        return good, said

    def observed(self, tally: Tally, place: Cursor, wrong: str = "") -> Observation:
        """One look, of which `wrong` says why there was nothing to judge."""
        good, said = (False, wrong) if wrong else self.judged(tally)
        if tally.unread:
            often = "a stretch was" if tally.unread == 1 else f"{tally.unread} stretches were"
            said += f"; {often} gone before it could be read"
        return Observation(good, said, {**place, **tally.facts()}, tally.unread)
