"""What every journal promises, whatever it is kept in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from deployguard.journal.events import Event


@dataclass(frozen=True)
class Record:
    """One event as it stands in a journal.

    Attributes:
        seq: position in the journal, from 1 without gaps; the only order there is.
        run: id of the run it belongs to.
        at: wall-clock time, ISO 8601 in UTC, milliseconds; a label, never used for order.
    """

    seq: int
    run: str
    at: str
    event: Event


class Journal(Protocol):
    """An append-only, hash-chained record of events."""

    def append(self, run: str, event: Event, *, fence: int | None = None) -> Record:
        """Make one event durable; when this returns, it survives a power cut, unless its kind says otherwise.

        Args:
            run: id of the run.
            event: the fact.
            fence: fencing token of the lease the writer believes to hold. None only
                for events that need no lease: those of a preflight, and decisions.

        Raises:
            LeaseLost: a later lease of the run's environment is on record. Nothing is written.
            Damaged: the journal's end is not what this process last knew it to be.
            NotRecorded: the disk refused. Whether the event is on record will be known when the
                journal is opened anew; until then this object refuses every further event.
        """

    def take_lease(self, run: str, environment: str, *, at_least: int) -> int:
        """Record that this process may act on `environment` and return its fencing token.

        The token is larger than every earlier one of the environment and not below
        `at_least` (what the target itself has seen, maybe from another journal).
        """

    def records(self, run: str | None = None) -> Iterator[Record]:
        """All records, or those of one run, in order, each checked against the chain.

        Raises:
            Damaged: with the number of the first event that cannot be trusted.
        """

    def close(self) -> None:
        """Let go of the file or connection."""
