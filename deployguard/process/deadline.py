"""What is to happen when something takes too long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer


@contextmanager
def deadline(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call `end` once, from another thread, if the block is not done in time; leaving waits for that call."""
    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
