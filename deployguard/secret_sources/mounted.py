"""Secrets that Kubernetes mounts into a pod as files."""

import os
import stat
from pathlib import Path

from deployguard.errors import Refused
from deployguard.secret_sources.base import LARGEST, Found, text_of

_SWITCH = "..data"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def read_mounted(folder: Path, key: str, name: str) -> Found:
    """One key of a mounted secret, and the name of the folder that this state of it is in.

    The kubelet writes each state into a folder of its own and turns the link `..data`
    to it, so exactly one link is followed, and only to a neighbour. Such files are
    readable by everybody inside the pod by default (mode 0644); that is not refused,
    writable ones are. Source: kubernetes.io, "Secrets", "Mounted Secrets are updated
    automatically"; pkg/volume/util/atomic_writer.go.

    Raises:
        Refused: it is not there, not such a folder, or others may write to it.
    """
    place = f"the mounted secret {folder / key} (secret {name})"
    opened: list[int] = []
    try:
        state = _open_state(folder, opened)
        opened.append(os.open(key, _OPEN, dir_fd=opened[-1]))
        facts = os.fstat(opened[-1])
        if "/" in key or not stat.S_ISREG(facts.st_mode) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Refused(f"{place} is not a regular file that only its owner may write", hint="Correct key:.")
        return Found(text_of(os.read(opened[-1], LARGEST + 1), place), state)
    except (OSError, ValueError) as error:
        raise Refused(
            f"{place} cannot be opened by user {os.getuid()}: {getattr(error, 'strerror', 'not a path')}",
            hint="Mount the secret there as a volume, with a mode (defaultMode, fsGroup) that lets this user read it.",
        ) from None
    finally:
        for fd in opened:
            os.close(fd)


def _open_state(folder: Path, opened: list[int]) -> str:
    """Open the folder, and the one that its files really are in; a single file mounted by subPath has no such."""
    opened.append(os.open(folder, _OPEN | os.O_DIRECTORY))
    try:
        state = os.readlink(_SWITCH, dir_fd=opened[-1])
    except FileNotFoundError:
        return ""
    if "/" in state:
        raise OSError(0, "its ..data leads elsewhere")
    opened.append(os.open(state, _OPEN | os.O_DIRECTORY, dir_fd=opened[-1]))
    return state
