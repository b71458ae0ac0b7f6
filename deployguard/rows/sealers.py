"""Who seals which column: the runbook's keys, keys that the application derives for it, or the application itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployguard.errors import Refused
from deployguard.keys.keyring import Keyring
from deployguard.keys.sealer import Sealer, Sealers
from deployguard.rows.application import Application
from deployguard.rows.spoken import Speaker, Spoken
from deployguard.secret import Secret


@dataclass(frozen=True)
class Beside:
    """What columns need that are not sealed by the runbook's keys, by their place: `table.column`.

    Attributes:
        derived: keys that only they have, newest first.
        spoken: fields of those that the application seals and opens itself.
        application: that does so.
    """

    derived: Mapping[str, tuple[Secret, ...]] = field(default_factory=dict)
    spoken: Mapping[str, str] = field(default_factory=dict)
    application: Application | None = None

    def told(self) -> dict[str, Any]:
        """All of it in plain data, secrets revealed: only for the pipe that a new process reads its orders from."""
        app = self.application
        return {
            "derived": {place: [key.reveal() for key in keys] for place, keys in self.derived.items()},
            "spoken": dict(self.spoken),
            "application": app and {
                "python": str(app.python), "manage": str(app.manage), "directory": str(app.directory),
                "env": {name: (given.reveal(), True) if isinstance(given, Secret) else (given, False)
                        for name, given in app.env.items()},
            },
        }  # fmt: skip

    @classmethod
    def heard(cls, told: Mapping[str, Any]) -> "Beside":
        """What another process was told."""
        app = told["application"]
        return cls(
            {place: tuple(Secret(k, name=f"key of {place}") for k in keys) for place, keys in told["derived"].items()},
            told["spoken"],
            app and Application(
                Path(app["python"]), Path(app["manage"]), Path(app["directory"]),
                {name: Secret(given, name=name) if hidden else given for name, (given, hidden) in app["env"].items()},
            ),
        )  # fmt: skip


NOTHING = Beside()
"""All columns are sealed by the runbook's keys."""


class ColumnSealers:
    """A sealer for each column. Close it: the application may have been started for it."""

    def __init__(self, keys: Sequence[Secret], beside: Beside) -> None:
        """Check every key; the application is started when it is first needed.

        Raises:
            Refused: a key is not good.
        """
        self._keyring = Keyring.from_secrets(keys) if keys else None
        self._own: dict[str, Sealer] = {place: Keyring.from_secrets(own) for place, own in beside.derived.items()}
        self._speaker = Speaker(beside.application, tuple(beside.spoken.values())) if beside.application else None
        if self._speaker is not None:
            self._own |= {place: Spoken(self._speaker, name, place) for place, name in beside.spoken.items()}

    def of(self, table: str, column: str) -> Sealer:
        """The column's.

        Raises:
            Refused: it is sealed by the runbook's keys, and there are none.
        """
        own = self._own.get(f"{table}.{column}", self._keyring)
        if own is None:
            raise Refused("the runbook names no encryption key", hint="Add one under secrets: and encryption: keys:.")
        return own

    def close(self) -> None:
        """Let the application end."""
        if self._speaker is not None:
            self._speaker.close()


def sealers_of(keys: Sequence[Secret], beside: Beside) -> Sealers:
    """Who seals each column; where nothing stands beside, the runbook's keys do, for all."""
    return Keyring.from_secrets(keys) if keys and beside == NOTHING else ColumnSealers(keys, beside)


@contextmanager
def sealing(keys: Sequence[Secret], beside: Beside) -> Iterator[Sealers]:
    """The same, with the application ended afterwards."""
    sealers = sealers_of(keys, beside)
    try:
        yield sealers
    finally:
        if isinstance(sealers, ColumnSealers):
            sealers.close()
