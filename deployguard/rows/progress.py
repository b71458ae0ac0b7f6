"""How far row work is, and how fast."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Progress:
    """One look at row work.

    Attributes:
        label: what is done to which table.
        done, total: rows.
        rate: rows a second since the work began.
        batch: rows of one transaction now.
        note: why it stands still or is slow, where it is.
    """

    label: str
    done: int
    total: int
    rate: float
    batch: int
    note: str = ""


Pulse = Callable[[Progress], None]
"""Called between batches, outside any transaction; what it raises stops the work there."""


class Meter:
    """Counts rows and tells the pulse."""

    def __init__(self, label: str, total: int, pulse: Pulse) -> None:
        self._label, self._total, self._pulse = label, total, pulse
        self._begun = time.monotonic()
        self.done = self._batch = 0
        self.note = ""

    def add(self, rows: int, batch: int) -> None:
        """`rows` more are done."""
        self.done, self._batch = self.done + rows, batch
        self.tell()

    def add_range(self, ranges: int, batch: int) -> None:
        """One of so many ranges is done: where only some of its rows are seen, it is the range that counts."""
        self.add(-(-self._total // ranges), batch)

    def tell(self) -> None:
        """Say how far it is."""
        rate = self.done / max(time.monotonic() - self._begun, 1e-6)
        self._pulse(Progress(self._label, self.done, max(self._total, self.done), rate, self._batch, self.note))


@dataclass(frozen=True)
class BatchSize:
    """Rows of a batch, so that each takes about as long as wanted.

    It at most doubles at a time, and halves at once when a batch took twice too long:
    the locks of a batch are what other users wait for.

    Attributes:
        rows: of the next batch.
        seconds: how long its transaction should take.
        most, least: rows of a batch in any case.
    """

    rows: int = 500
    seconds: float = 0.2
    most: int = 2000
    least: int = 50

    def after(self, seconds: float) -> "BatchSize":
        """What was learnt from how long the last batch took."""
        factor = min(2.0, max(0.5, self.seconds / max(seconds, 1e-6)))
        return replace(self, rows=int(min(self.most, max(self.least, self.rows * factor))))
