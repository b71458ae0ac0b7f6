"""When failed looks are a breach: several in a row, more than the budget, or a budget that burns too fast. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deployguard.runbook.quantities import Duration, spell

_SHORT = 12


class Burn(BaseModel):
    """How fast the budget may burn within a window.

    Source: "The Site Reliability Workbook" (Google), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    window: Duration = Field(gt=0)
    """How far back is looked."""
    rate: Annotated[float, Field(gt=0)]
    """Breached at this many times the speed that would spend the budget just by the end: 14.4 over 1h."""
    short: Duration | None = Field(None, gt=0)
    """Breached only if it burns as fast over this too, so that what is over is no breach; a twelfth of the window."""

    def breached(self, looks: "Looks", budget: float, every: float) -> str:
        """In words how fast it burns, if that is too fast; empty if it is not."""
        short = self.window / _SHORT if self.short is None else self.short
        fast = [share_failed(looks, window, every) / budget for window in (self.window, short)]
        if min(fast) < self.rate:
            return ""
        return (
            f"the budget of {budget:.4g} burns {fast[0]:.4g} times as fast as it may over {spell(self.window)}, "
            f"and {fast[1]:.4g} times over {spell(short)}"
        )


class Looks:
    """When a condition was looked at, and when it failed: seconds since the first look of the watch, rising."""

    def __init__(self, looked: Sequence[float] = (), failed: Sequence[float] = ()) -> None:
        self.looked, self.failed = list(looked), list(failed)

    def add(self, at: float, *, ok: bool) -> None:
        """One more look."""
        self.looked.append(at)
        if not ok:
            self.failed.append(at)


def share_failed(looks: Looks, window: float, every: float) -> float:
    """Of the looks in the window that ends with the latest look, how many failed.

    Looks that nobody made do not count. A watch that is younger than the window is taken to go on well:
    its first failed look would otherwise be all looks that there are.
    """
    now = looks.looked[-1] if looks.looked else 0.0
    made, bad = (len(times) - bisect_right(times, now - window) for times in (looks.looked, looks.failed))
    to_come = max(0.0, (window - now) / every - 1)  # the first look was made at 0
    return bad / max(made + to_come, 1.0)
