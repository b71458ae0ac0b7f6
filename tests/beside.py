"""What goes on beside a test: others do not stand still."""

from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def beside(work):
    """Work in a thread of its own, which is told by an event that the block is left."""
    stop = Event()
    thread = Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
