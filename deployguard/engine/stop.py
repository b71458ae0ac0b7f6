"""Being asked to stop: the first signal at the next safe point, the second now."""

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from deployguard.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Counts requests to stop. Use it as a context to have signals counted.

    Attributes:
        requests: how many came.
        signal: the first one's number, or 0.
    """

    def __init__(self, on_request: Callable[[int], None] = lambda _: None) -> None:
        self.requests = 0
        self.signal = 0
        self._on_request = on_request
        self._before: dict[int, object] = {}

    def request(self, number: int = 0) -> None:
        """Ask once more."""
        self.requests += 1
        self.signal = self.signal or number
        with suppress(OSError, ValueError, RuntimeError):  # the terminal may be gone, or in the middle of a line
            self._on_request(self.requests)

    def now(self) -> bool:
        """Whether a running command is to be ended at once."""
        return self.requests > 1

    def check(self) -> None:
        """Raise `Interrupted` when asked to stop: called at safe points."""
        if self.requests:
            name = signal.Signals(self.signal).name if self.signal else "a request"
            raise Interrupted(
                f"stopped at a safe point after {name}", hint="Run 'deployguard deploy --resume' to go on."
            )

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() itself gave back

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.request(number)
