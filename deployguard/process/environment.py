"""What a process is given of names and values, and what is said when it cannot be started."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployguard.errors import StepFailed
from deployguard.secret import Secret
from deployguard.visible import visible

MARK = "DEPLOYGUARD_PROCESS"
"""Environment variable by which everything that a child started is known to be its own."""
Environment = Mapping[str, str | Secret]

_KEPT = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK"}


def base_environment() -> dict[str, str]:
    """What every process gets of our own environment.

    No more than finding programs, files, one's name, language and time needs, and
    SSH_AUTH_SOCK, without which git cannot reach its remote: it gives the use of keys,
    not the keys. VIRTUAL_ENV is ours, not the application's. Whatever else is needed
    (a proxy, say) is declared in the runbook.
    """
    return {name: os.environ[name] for name in os.environ if name in _KEPT or name.startswith("LC_")}


def revealed(env: Environment) -> dict[str, str]:
    """The values themselves: the last moment before a start."""
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in env.items()}


def not_started(argv: Sequence[str], cwd: Path, error: Exception) -> StepFailed:
    """The error for a command that the system would not start."""
    name = visible(argv[0]) if argv else "an empty command"
    if not cwd.is_dir():
        return StepFailed(f"{name} cannot be started in {cwd}: no such folder", hint="Correct cwd: in the runbook.")
    if isinstance(error, FileNotFoundError):
        return StepFailed(f"{name} cannot be started: not found", hint=f"Install {name}, or correct its name or PATH.")
    reason = error.strerror if isinstance(error, OSError) else "a word or a value of it cannot be passed on"
    return StepFailed(f"{name} cannot be started: {reason}", hint=f"Try to run {name} by hand as this user.")
