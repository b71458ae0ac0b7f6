"""Tell people elsewhere: started, waiting, breached, rolled back, done. What cannot be told stops nothing."""

import logging
import queue
import threading
from collections.abc import Sequence
from typing import Any

from deployguard.errors import Refused
from deployguard.journal import events as e
from deployguard.journal.base import Journal, Record
from deployguard.secret import Secret
from deployguard.steps.base import Progress

_PATIENCE = 15.0
"""Seconds that the end of a run waits for messages that are still on their way."""


class Notifier:
    """Watches a run and sends a message at each turn of it, from a thread of its own.

    Addresses are apprise URLs (github.com/caronc/apprise/wiki); they hold tokens, so they are
    secrets. A message holds the run, the step, the reason as it is on record, and the next
    command: never a secret or a row.
    """

    def __init__(self, addresses: Sequence[Secret], *, name: str, environment: str) -> None:
        """Look at the addresses; nothing is sent yet.

        Raises:
            Refused: apprise is not installed, or does not know what an address is.
        """
        self._sender = _sender(addresses)
        self._about = f"{name} → {environment}"
        self._environment = environment
        self._todo: queue.SimpleQueue[tuple[str, str, str] | None] = queue.SimpleQueue()
        self._untold: list[tuple[str, str]] = []
        """Run and turn of every message that nobody is known to have got."""
        self._thread = threading.Thread(target=self._send, name="notifications", daemon=True)
        self._thread.start()

    def recorded(self, record: Record) -> None:
        """Send what people want to hear of."""
        told = self._told(record)
        if told is not None:
            what, text = told
            self._untold.append((record.run, what))
            self._todo.put((record.run, what, text))

    def progressed(self, step: str, progress: Progress) -> None:
        """Nobody elsewhere wants each batch."""

    def printed(self, step: str, line: str) -> None:
        """Output stays here."""

    def close(self, journal: Journal) -> None:
        """Wait a little for what is on its way, and put on record what could not be sent."""
        self._todo.put(None)
        self._thread.join(_PATIENCE)
        for run, what in list(self._untold):
            journal.append(run, e.NotificationFailed(what=what))

    def _send(self) -> None:
        while (item := self._todo.get()) is not None:
            run, what, text = item
            title = f"deployguard: {self._about}: {what}"
            # one by one: a pool of apprise's would hold the process back at its end, as long as a service is silent
            answers = [_sent(service, title, text) for service in self._sender]
            if all(answers):
                self._untold.remove((run, what))

    def _told(self, record: Record) -> tuple[str, str] | None:
        run, go_on = record.run, f"deployguard deploy --resume --env {self._environment}"
        match record.event:
            case e.RunStarted(actor=actor, host=host):
                return "started", f"Run {run} was begun by {actor} on {host}."
            case e.StepWaiting(step=step, reason=reason):
                return "waiting", f"Run {run}, step {step}: {reason}.\nThen: {go_on}"
            case e.StepFailed(step=step, error=error, final=True, breached=breached):
                return (
                    "breached" if breached else "failed",
                    f"Run {run}, step {step}: {error}\nLook: deployguard show {run}",
                )
            case e.RollbackStarted(reason=reason):
                return "rolling back", f"Run {run}: {reason}\nLook: deployguard show {run}"
            case e.RunFinished(state=state, reason=reason) if state != "waiting":
                return state.replace("_", " "), f"Run {run}. {reason}\nProof: deployguard report {run}"
        return None


def _sent(service: Any, title: str, text: str) -> bool:  # noqa: ANN401 - one of apprise's
    try:
        return bool(service.notify(body=text, title=title))
    except Exception:  # noqa: BLE001 - over a hundred services, and none of them may stop a run
        return False


def _sender(addresses: Sequence[Secret]) -> Any:  # noqa: ANN401 - an Apprise, which is imported only here
    try:
        import apprise
    except ImportError:
        raise Refused("notify: needs apprise", hint="Run 'pip install deployguard[notify]'.") from None
    # what it logs of a failure would stand between our own lines, and may hold an address
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    logging.getLogger("apprise").propagate = False
    sender = apprise.Apprise()
    for number, address in enumerate(addresses, 1):
        if not sender.add(address.reveal()):
            raise Refused(
                f"entry {number} of notify: is no address that apprise knows",
                hint="Its wiki lists over a hundred; a plain webhook is json://host/path or jsons://host/path.",
            )
    return sender
