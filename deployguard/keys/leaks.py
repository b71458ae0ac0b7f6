"""Keys where they must not be: in what git keeps, and in files beside the code.

The key never stands in the arguments of a command: git hands over what it has, and the
search is in this process.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deployguard.errors import StepFailed, StepTimedOut
from deployguard.keys.shipping import shipped_in_image
from deployguard.keys.spellings import Spellings, pieces
from deployguard.process import base_environment, capture
from deployguard.process.piped import piped

LARGEST = 256 * 1024 * 1024
"""Bytes; larger files beside the code are data, not settings, and are left out and counted."""

_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KNOWN = "Make a new key: whoever has a copy of the repository has this one."
_ROTATE = f"{_KNOWN} Then take it out of the history (git filter-repo)."


@dataclass(frozen=True)
class Leak:
    """A place where a key stands, and how to mend it in one line."""

    key: str
    where: str
    fix: str


@dataclass
class Limits:
    """Until when to search, and whom to tell how many bytes are done."""

    until: float
    """By `time.monotonic`."""
    pulse: Callable[[int], None] = lambda _: None
    done: int = 0

    def watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks, as long as there is time.

        Raises:
            StepTimedOut: there is none left.
        """
        for chunk in chunks:
            self.done += len(chunk)
            self.pulse(self.done)
            if time.monotonic() > self.until:
                raise _late()
            yield chunk


def _late() -> StepTimedOut:
    return StepTimedOut(
        "the search for copies of the key was not done in time",
        hint="Give it longer (search:), or take large files out of the working copy.",
    )


def is_repository(directory: Path) -> bool:
    """Whether git keeps the folder's history."""
    return directory.is_dir() and _git(directory, "rev-parse", "--is-inside-work-tree").strip() == b"true"


def history_leaks(directory: Path, spellings: Spellings, limits: Limits) -> Iterator[Leak]:
    """Every object git has, of all branches, tags and stashes, staged or forgotten.

    Raises:
        StepFailed: git could not read its own objects.
        StepTimedOut: it took too long.
    """
    argv = ["git", "-C", str(directory), "cat-file", "--batch-all-objects", "--batch", "--unordered", "--buffer"]
    left = max(1.0, limits.until - time.monotonic())
    found: list[tuple[str, str]] = []
    with piped(argv, cwd=directory, env={**base_environment(), **_QUIET}, timeout=left) as git:
        for oid, names in _objects(git.writes, spellings, limits):
            found += [(oid, name) for name in names]
    if git.timed_out:
        raise _late()
    if git.exit != 0:
        raise StepFailed(f"git could not read its history in {directory}", hint=f"Run 'git -C {directory} fsck'.")
    for oid, name in found:
        yield Leak(name, _place(directory, oid), _ROTATE)


def _objects(stream: BinaryIO, spellings: Spellings, limits: Limits) -> Iterator[tuple[str, set[str]]]:
    while line := stream.readline():
        oid, _, size = line.decode("ascii").split()
        yield oid, spellings.names_in(limits.watched(pieces(stream, int(size))))
        stream.read(1)  # the line break after each object


def _place(directory: Path, oid: str) -> str:
    """The commit and file of an object, as a person would look for it."""
    wanted = ["log", "--all", "--reflog", "-m", "-1", "--format=%h %S", "--name-only", f"--find-object={oid}"]
    lines = _git(directory, *wanted).decode(errors="replace").split("\n")
    if not lines[0]:
        kind = _git(directory, "cat-file", "-t", oid).decode().strip()
        known = f"the message of commit {oid[:10]}" if kind == "commit" else ""
        return known or f"git's object {oid[:10]}, which is staged or left over from a branch or stash that is gone"
    commit, _, ref = lines[0].partition(" ")
    files = ", ".join(filter(None, lines[1:3]))
    return f"commit {commit} of {ref.removeprefix('refs/').removeprefix('heads/') or 'the reflog'} ({files})"


def _git(directory: Path, *arguments: str) -> bytes:
    argv = ["git", "-C", str(directory), *arguments]
    done = capture(argv, cwd=directory, env={**base_environment(), **_QUIET}, timeout=120.0)
    return done.stdout if done.exit == 0 else b""


def file_leaks(directory: Path, spellings: Spellings, limits: Limits) -> Iterator[Leak]:
    """The files of a working copy: those that git knows, would take, and ignores.

    An ignored file may hold a key, if only its owner can read it and no image is made of it.
    """
    shipped = shipped_in_image(directory)
    listings = {
        "tracked": ("ls-files", "-z", "--cached"),
        "untracked": ("ls-files", "-z", "--others", "--exclude-standard"),
        "ignored": ("ls-files", "-z", "--others", "--ignored", "--exclude-standard"),
    }
    for kind, command in listings.items():
        for name in map(os.fsdecode, filter(None, _git(directory, *command).split(b"\0"))):
            how = "shipped" if kind == "ignored" and shipped(name) else kind
            yield from _file_leak(directory / name, how, name, spellings, limits)


def loose_leaks(folder: Path, spellings: Spellings, limits: Limits) -> Iterator[Leak]:
    """The files right in a folder, such as the runbook's, whatever git thinks of them."""
    for path in sorted(folder.iterdir()):
        yield from _file_leak(path, "ignored", path.name, spellings, limits)


def _file_leak(path: Path, kind: str, shown: str, spellings: Spellings, limits: Limits) -> Iterator[Leak]:
    with suppress(OSError), os.fdopen(os.open(path, _OPEN), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
            return
        for name in sorted(spellings.names_in(limits.watched(pieces(file)))):
            mode = stat.S_IMODE(facts.st_mode)
            if kind == "tracked":
                yield Leak(name, f"{shown}, which git ships to every copy", f"Run 'git rm --cached {shown}'. {_KNOWN}")
            elif kind == "untracked":
                fix = f"Move it out of the working copy, or add {shown} to .gitignore and run 'chmod 600 {shown}'."
                yield Leak(name, f"{shown}, which the next 'git add' would take", fix)
            elif kind == "shipped":
                fix = f"Add {shown} to .dockerignore; if an image was built with it, make a new key."
                yield Leak(name, f"{shown}, which the Dockerfile copies into the image", fix)
            elif mode & (stat.S_IRGRP | stat.S_IROTH):
                fix = f"Run 'chmod 600 {shown}'; if others could read it, make a new key."
                yield Leak(name, f"{shown}, which others may read (mode {mode:04o})", fix)
