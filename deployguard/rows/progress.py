"""How far row work is, and how fast."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One look at row work.

    Attributes:
        label: what is done to which table.
        done, total: rows.
        rate: rows a second since the work began.
        batch: rows of one transaction now.
    """

    label: str
    done: int
    total: int
    rate: float
    batch: int


Pulse = Callable[[Progress], None]
"""Called between batches, outside any transaction; what it raises stops the work there."""


class Meter:
    """Counts rows and tells the pulse."""

    def __init__(self, label: str, total: int, pulse: Pulse) -> None:
        self._label, self._total, self._pulse = label, total, pulse
        self._begun = time.monotonic()
        self.done = 0

    def add(self, rows: int, batch: int) -> None:
        """`rows` more are done."""
        self.done += rows
        elapsed = max(time.monotonic() - self._begun, 1e-6)
        self._pulse(Progress(self._label, self.done, max(self._total, self.done), self.done / elapsed, batch))


class BatchSize:
    """Rows of a batch, so that each takes about as long as wanted.

    It at most doubles at a time, and halves at once when a batch took twice too long:
    the locks of a batch are what other users wait for.
    """

    def __init__(self, first: int = 500, *, seconds: float = 0.2, most: int = 5000) -> None:
        self.rows, self._seconds, self._most = first, seconds, most

    def took(self, seconds: float) -> None:
        """Learn from how long the last batch took."""
        factor = min(2.0, max(0.5, self._seconds / max(seconds, 1e-6)))
        self.rows = int(min(self._most, max(50, self.rows * factor)))
