"""Who watches a run while it goes on: the terminal, a web page, nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Protocol

from deployguard.journal.base import Record
from deployguard.steps.base import Progress


class Observer(Protocol):
    """Told of everything, asked for nothing; what it raises is ignored."""

    def recorded(self, record: Record) -> None:
        """An event is durable."""

    def progressed(self, step: str, progress: Progress) -> None:
        """A step is this far."""

    def printed(self, step: str, line: str) -> None:
        """A step's command wrote a line, masked and made visible."""


class Nobody:
    """Watches nothing."""

    def recorded(self, record: Record) -> None:
        """Ignore it."""

    def progressed(self, step: str, progress: Progress) -> None:
        """Ignore it."""

    def printed(self, step: str, line: str) -> None:
        """Ignore it."""


class Several:
    """Tells each of several watchers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = [Guarded(observer) for observer in observers]

    def recorded(self, record: Record) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.recorded(record)

    def progressed(self, step: str, progress: Progress) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.progressed(step, progress)

    def printed(self, step: str, line: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.printed(step, line)


class Guarded:
    """Keeps a broken watcher, such as a terminal that is gone, from stopping the work; tells it one thing at a time."""

    def __init__(self, observer: Observer) -> None:
        self._observer: Observer = observer
        self._telling = RLock()

    def recorded(self, record: Record) -> None:
        """Pass it on."""
        with self._unless_broken():
            self._observer.recorded(record)

    def progressed(self, step: str, progress: Progress) -> None:
        """Pass it on."""
        with self._unless_broken():
            self._observer.progressed(step, progress)

    def printed(self, step: str, line: str) -> None:
        """Pass it on."""
        with self._unless_broken():
            self._observer.printed(step, line)

    @contextmanager
    def _unless_broken(self) -> Iterator[None]:
        with self._telling:
            try:
                yield
            except (OSError, ValueError):
                self._observer = Nobody()
