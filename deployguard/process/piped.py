"""A command as one end of a stream: what it writes is read as bytes, or what it reads is written to it."""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

from deployguard.process.deadline import deadline
from deployguard.process.environment import MARK, Environment, not_started, revealed
from deployguard.process.family import STARTED, STARTING, end_all, new_mark, session_of

_TAIL = 16 * 1024
_PIPE = 1024 * 1024
"""Bytes under way between the command and us: with the kernel's 64 KiB a dump waits for us at every turn."""


class Piped:
    """A command under way.

    Attributes:
        reads: its standard input, where it was started to be written to; close it to end the input.
        writes: its standard output, where it was started to be read from.
        exit: exit status; known after the `with` block.
        errors: the end of what it wrote to standard error, unmasked; known after the `with` block.
            It may quote rows: take from it what is known to be harmless.
        timed_out: it was killed at its deadline.
    """

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self.pid = popen.pid
        self.exit: int | None = None
        self.errors = b""
        self.timed_out = False
        self._popen = popen

    @property
    def reads(self) -> BinaryIO:
        """Its standard input."""
        return cast("BinaryIO", self._popen.stdin)

    @property
    def writes(self) -> BinaryIO:
        """Its standard output."""
        return cast("BinaryIO", self._popen.stdout)

    def kill(self) -> None:
        """End it and whatever it started."""
        end_all(partial(session_of, self.pid), grace=0.0)

    def expire(self) -> None:
        """End it, since its time is over."""
        self.timed_out = True
        self.kill()


@contextmanager
def piped(
    argv: Sequence[str], *, cwd: Path, env: Environment, timeout: float, write: bool = False, read: bool | None = None
) -> Iterator[Piped]:
    """Run a command beside the block, and see it to its end.

    Args:
        argv: program and words; none of them secret.
        cwd: folder to run in.
        env: exactly this.
        timeout: seconds until it is killed.
        write: it is written to; otherwise it is read from.
        read: whether it is read from; with `write`, for a talk of question and answer.

    Raises:
        StepFailed: it could not be started.

    Leaving the block waits for its end; leaving it by an exception kills it first.
    A failing command raises nothing: look at `exit`.
    """
    with tempfile.TemporaryFile() as errors:
        running = Piped(_started(argv, cwd, env, errors, write=write, read=not write if read is None else read))
        with deadline(timeout, running.expire):
            try:
                yield running
            except BaseException:
                running.kill()
                raise
            finally:
                _end(running, errors)


def _started(
    argv: Sequence[str], cwd: Path, env: Environment, errors: IO[bytes], *, write: bool, read: bool
) -> "subprocess.Popen[bytes]":
    with STARTING:
        try:
            popen = subprocess.Popen(
                list(argv), cwd=cwd, env={**revealed(env), MARK: new_mark()}, start_new_session=True, stderr=errors,
                stdin=subprocess.PIPE if write else subprocess.DEVNULL,
                stdout=subprocess.PIPE if read else subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise not_started(argv, cwd, error) from None
        STARTED[popen] = popen.pid
    for pipe in filter(None, (popen.stdin, popen.stdout)):
        # a machine may allow its users less: then it is slower
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    return popen


def _end(running: Piped, errors: IO[bytes]) -> None:
    popen = running._popen  # noqa: SLF001 - of this file
    if popen.stdin is not None:
        with suppress(BrokenPipeError):
            popen.stdin.close()
    if popen.stdout is not None:
        popen.stdout.close()
    running.exit = popen.wait()
    with STARTING:
        del STARTED[popen]
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TAIL))
    running.errors = errors.read()
