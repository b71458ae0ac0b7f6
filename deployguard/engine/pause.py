"""A run that holds still at its next safe point, because somebody said so beside it: by a file in its own folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from deployguard.errors import UsageError
from deployguard.journal.home import Home

LOOK = 0.5
"""Seconds between two looks, while the run holds still."""


@dataclass(frozen=True)
class Pause:
    """Who has a run hold still.

    Attributes:
        ended_by: who has let it go on; empty while it holds.
    """

    who: str
    why: str = ""
    ended_by: str = ""


def pause_file(home: Home, run: str) -> Path:
    """Where it is said; a script may make the file itself, empty."""
    return home.run(run) / "pause"


def paused(file: Path) -> Pause | None:
    """What the file says; None where there is none. A file that says nothing pauses all the same."""
    try:
        said = json.loads(file.read_text("utf-8"))
        return Pause(str(said["who"]), str(said.get("why", "")), str(said.get("ended_by", "")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Pause("a file")


def pause(home: Home, run: str, *, who: str, why: str) -> None:
    """Have a run hold still from its next safe point on."""
    _write(pause_file(home, run), Pause(who, why))


def let_go(home: Home, run: str, *, who: str) -> None:
    """Have it go on.

    Raises:
        UsageError: nobody has paused it.
    """
    found = paused(pause_file(home, run))
    if found is None or found.ended_by:
        raise UsageError(f"run {run} is not paused", hint=f"'deployguard show {run}' says what it does.")
    _write(pause_file(home, run), Pause(found.who, found.why, who))


def _write(file: Path, said: Pause) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".pause-{os.getpid()}")
    draft.write_text(json.dumps(asdict(said)), "utf-8")
    draft.chmod(0o600)
    draft.replace(file)  # whoever looks sees all of it or nothing
