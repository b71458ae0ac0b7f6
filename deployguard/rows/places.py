"""Where an application may keep copies of what its rows hold, as it says itself."""

import pickletools
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployguard.portions import portions
from deployguard.rows.application import Application

_SCRIPT = Path(__file__).with_name("probe_places.py")
_AT_ONCE = 8 * 1024 * 1024
"""Characters of sessions that the application is given at one start."""


@dataclass(frozen=True)
class Places:
    """Places that need to be known to be looked through.

    Attributes:
        models: "app.Model" by table.
        kinds: what a table is for, where that is known: "history", "audit log", "versions", "admin log".
        sessions, caches: tables.
        media: folder of uploaded files; None where there is none on this machine.
        elsewhere: what is kept where we cannot look.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    sessions: frozenset[str] = frozenset()
    caches: frozenset[str] = frozenset()
    media: Path | None = None
    elsewhere: tuple[str, ...] = ()


def places_of(application: Application) -> Places:
    """Ask the application. Opens no connection to its database.

    Raises:
        Refused: the application does not start.
    """
    [said] = application.ask({"do": "places"}, script=_SCRIPT)
    return Places(
        said["models"], said["kinds"], frozenset(said["sessions"]), frozenset(said["caches"]),
        application.directory / said["media"] if said["media"] else None, tuple(said["notes"]),
    )  # fmt: skip


def session_texts(application: Application, data: Sequence[str]) -> Iterator[list[str] | None]:
    """The texts in each session, decoded by the application's own session store; None where it cannot be.

    Raises:
        Refused: the application does not start.
    """
    for some in portions(data, _AT_ONCE):
        yield from application.ask({"do": "sessions", "data": list(some)}, script=_SCRIPT)[0]["sessions"]


def cached_texts(value: str) -> list[str] | None:
    """The texts in a value of Django's database cache; None where it is none.

    A pickle can run code when it is loaded, so it is only read: its texts stand in it as they are.
    """
    found: list[str] = []
    try:
        for _, told, _ in pickletools.genops(b64decode(value, validate=True)):
            if isinstance(told, (str, bytes)):  # a cached page is bytes
                found.append(told if isinstance(told, str) else told.decode("utf-8", "replace"))
    except ValueError:
        return None
    return found
