"""When the field-encryption key is to be changed: asked of the journal, not of anybody's memory. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployguard.journal.state import RunState

_CHANGING = ("encryption.rotate", "encryption.encrypt")


@dataclass(frozen=True)
class Since:
    """From when on a key has been in use, as far as is on record; and the run that says so."""

    at: datetime
    run: str

    def due(self, every: float) -> datetime:
        """When it is to be changed, where a key may be used for so many seconds."""
        return self.at + timedelta(seconds=every)


def in_use_since(runs: "Iterable[RunState]", environment: str, fingerprint: str) -> Since | None:
    """When the newest key of an environment came into use; None where no run says.

    The first run whose `key.check` saw it as the newest. Where no run has looked at keys, the end
    of the last one that brought rows under a key.
    """
    mine = [run for run in runs if run.environment == environment]
    seen = {run.id: {_newest(evidence) for evidence in _looks(run)} for run in mine}
    for run in mine:
        if fingerprint in seen[run.id]:
            return Since(datetime.fromisoformat(run.at), run.id)
    if any(seen.values()):
        return None  # others were in use: this one is new
    for run in reversed(mine):
        if run.state == "succeeded" and any(s.uses in _CHANGING and s.state == "succeeded" for s in run.steps.values()):
            return Since(datetime.fromisoformat(run.ended or run.at), run.id)
    return None


def _looks(run: "RunState") -> Iterator[Mapping[str, Any]]:
    yield from (check.evidence for check in run.checks if check.uses == "key.check")
    yield from (step.evidence for step in run.steps.values() if step.uses == "key.check" and step.evidence)


def _newest(evidence: Mapping[str, Any]) -> str:
    keys = evidence.get("keys") or [{}]
    return str(keys[0].get("fingerprint", ""))
