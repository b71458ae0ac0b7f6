"""The products' own programs: found, new enough, given secrets in files only, and heard without what they quote."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import BinaryIO

from deployguard.backup.base import Source
from deployguard.backup.durable import create
from deployguard.errors import Refused, StepFailed
from deployguard.process import base_environment, capture
from deployguard.process.piped import Piped, piped

_CHUNK = 1024 * 1024


def find(names: Sequence[str], elsewhere: str = "") -> list[str]:
    """Paths of a program that goes by several names, those on PATH first.

    Args:
        names: best first.
        elsewhere: pattern of further folders; the latest by name comes first.
    """
    folders = [*os.get_exec_path(), *sorted(glob(elsewhere), reverse=True)]  # noqa: PTH207 - an absolute pattern
    found = [shutil.which(name, path=folder) for folder in folders for name in names]
    return list(dict.fromkeys(path for path in found if path))


def version(program: str) -> tuple[str, tuple[int, ...]]:
    """What it says of its version, as text and as numbers.

    Raises:
        StepFailed: it says nothing.
    """
    said = capture([program, "--version"], cwd=Path("/")).stdout.decode("utf-8", "replace").strip()
    # `mariadb-dump Ver 10.19 Distrib 10.11.6-MariaDB`: its own number counts for nothing
    number = re.search(r"(?:from|Distrib|\)) (\d+(?:\.\d+)*)", said) or re.search(r"(\d+(?:\.\d+)+)", said)
    if number is None:
        raise StepFailed(f"{program} does not say which version it is", hint=f"Try to run '{program} --version'.")
    return said, tuple(map(int, number[1].split(".")))


def has_option(program: str, option: str) -> bool:
    """Whether a program says that it has an option."""
    return option in capture([program, "--help"], cwd=Path("/")).stdout.decode("utf-8", "replace").split()


@contextmanager
def secret_file(path: Path, text: str) -> Iterator[Path]:
    """A file, 0600 from its first byte, that is gone afterwards."""
    path.unlink(missing_ok=True)
    with create(path) as stream:
        stream.write(text.encode())
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def dumping(argv: Sequence[str], folder: Path, deadline: float, **env: str) -> Iterator[BinaryIO]:
    """What a program dumps.

    Leaving raises `StepFailed` when it did not finish well: half a dump looks like a whole one.
    """
    with piped(argv, cwd=folder, env={**base_environment(), **env}, timeout=deadline) as running:
        yield running.writes
    _judge(argv[0], running, deadline)


def feed(argv: Sequence[str], dump: Source, folder: Path, deadline: float, **env: str) -> None:
    """Let a program restore a dump.

    Raises:
        StepFailed: it did not take all of it, or complained.
    """
    with piped(argv, cwd=folder, env={**base_environment(), **env}, timeout=deadline, write=True) as running:
        try:
            while chunk := dump.read(_CHUNK):
                running.reads.write(chunk)
            running.reads.close()
        except BrokenPipeError:
            pass  # it has ended: its exit status says why
    _judge(argv[0], running, deadline)


def _judge(program: str, running: Piped, deadline: float) -> None:
    name = Path(program).name
    if running.timed_out:
        raise StepFailed(f"{name} was not done in {deadline:.0f} s and was ended", hint="Raise deadline: of the step.")
    if running.exit:
        said = _harmless(running.errors)
        raise StepFailed(
            f"{name} failed with exit status {running.exit}{said}",
            hint=_TOO_LARGE
            if any(code in said for code in ("ERROR 2006", "ERROR 1153"))
            else f"Nothing was kept of it. Look at the server's log, or run {name} by hand to see all it says.",
        )


_TOO_LARGE = (
    "The server ended the session: a row may be larger than one statement may be. A large value takes twice its bytes"
    " in a dump: let the server's max_allowed_packet be more than that. Otherwise look at the server's log."
)


def _harmless(errors: bytes) -> str:
    """Codes and the server's fixed sentences; a database error may quote rows, and those stay out."""
    text = errors.decode("utf-8", "replace")
    code = re.search(r"ERROR (\d+) \((\w+)\)|Got error: (\d+)", text)
    known = next((sentence for sentence in _SENTENCES if sentence in text), "")
    return "".join(f" ({part})" for part in ((code[0] if code else ""), known) if part)


_SENTENCES = (
    "permission denied", "must be owner", "password authentication failed", "No space left on device",
    "server version mismatch", "lock timeout", "does not exist", "already exists", "could not connect",
    "Access denied", "Lost connection", "server closed the connection", "unrecognized", "unsupported version",
)  # fmt: skip


def require(found: Sequence[str], server: str, package: str, *, least: tuple[int, ...]) -> tuple[str, str]:
    """The first program that is new enough for the server, and what it says of its version.

    Raises:
        Refused: there is none.
    """
    seen = []
    for program in found:
        said, number = version(program)
        if number[: len(least)] >= least:
            return program, said
        seen.append(said)
    raise Refused(
        f"no dump program is new enough for the server {server}: found {'; '.join(seen)}"
        if seen
        else f"no dump program for the server {server} is there",
        hint=f"Install {package}, or put it first on PATH.",
    )
