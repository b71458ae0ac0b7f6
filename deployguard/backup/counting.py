"""What a snapshot holds, counted by a thread of its own while its dump is written: neither waits for the other."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployguard.backup.base import Facts, Pulse, Snapshot
from deployguard.errors import DeployguardError, StepFailed

_LOOK = 0.2
"""Seconds between two looks at a counting that is waited for."""
_FAILS = 2.0
"""Seconds in which a counting fails of what its dump failed of."""


@dataclass
class Counting:
    """A counting under way."""

    _pulse: Pulse
    _future: "Future[Facts]" = field(init=False)
    _latest: tuple[str, int, int | None] = ("counting", 0, None)

    def told(self, label: str, done: int, total: int | None) -> None:
        """Remember how far it is; only the thread that waits may show it, and stop."""
        self._latest = (label, done, total)

    def facts(self) -> Facts:
        """What was counted; waits for the end."""
        while True:
            try:
                return self._future.result(_LOOK)
            except NotYet:
                self._pulse(*self._latest)

    def failure(self) -> DeployguardError | None:
        """What the counting failed of, if it did, or does within a moment."""
        wait([self._future], _FAILS)
        failed = self._future.exception() if self._future.done() else None
        return failed if isinstance(failed, DeployguardError) else None


@contextmanager
def counted(snapshot: Snapshot, pulse: Pulse) -> Iterator[Counting]:
    """Count beside the block. Leaving it by an exception gives the counting up."""
    counting = Counting(pulse)
    with ThreadPoolExecutor(1, thread_name_prefix="counting") as pool:
        counting._future = pool.submit(snapshot.facts, counting.told)  # noqa: SLF001 - of this file
        try:
            yield counting
        except StepFailed:
            # what the dump program failed of, the counting has words for: it speaks with the server itself
            better = counting.failure()
            snapshot.give_up()
            if better is not None:
                raise better from None
            raise
        except BaseException:
            snapshot.give_up()
            raise
