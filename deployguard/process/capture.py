"""Short commands that are trusted, by `sh`."""

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Event

from deployguard.errors import Refused, StepTimedOut
from deployguard.process.deadline import deadline
from deployguard.process.environment import Environment, base_environment, not_started, revealed
from deployguard.process.family import STARTED, STARTING, end_all, session_of
from deployguard.visible import visible

LIMIT = 64 * 1024 * 1024
"""Bytes of each stream."""


@dataclass(frozen=True)
class Captured:
    """What a short command wrote, as it wrote it. Mask before showing."""

    exit: int
    stdout: bytes
    stderr: bytes


def capture(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Environment | None = None,
    timeout: float = 30.0,
    input: bytes | None = None,  # noqa: A002 - as in subprocess
) -> Captured:
    """Run a short command that is trusted, such as git, and return what it wrote.

    Raises:
        StepTimedOut: it was not done in time, and was killed with its group.
        StepFailed: it could not be started.
        Refused: it wrote more than 64 MiB.
    """
    import sh

    logging.getLogger("sh").setLevel(logging.WARNING)  # below that it would log what the command writes
    environment = revealed(base_environment() if env is None else env)
    name = visible(argv[0])
    program = shutil.which(argv[0] if "/" not in argv[0] else str(cwd / argv[0]), path=environment.get("PATH"))
    if program is None or not cwd.is_dir():
        raise not_started(argv, cwd, FileNotFoundError())
    out, err = _Bounded(), _Bounded()
    with STARTING:
        try:
            running = sh.Command(program)(
                *argv[1:], _cwd=str(cwd), _env=environment, _in=input or b"", _out=out, _err=err,
                _bg=True, _bg_exc=False, _tty_out=False, _new_session=True, _return_cmd=True,
                _out_bufsize=64 * 1024, _err_bufsize=64 * 1024, _ok_code=list(range(256)),
            )  # fmt: skip
        except (OSError, ValueError, sh.ForkException) as error:
            raise not_started(argv, cwd, error) from None
        STARTED[out] = running.pid
    late = Event()

    def end() -> None:
        late.set()
        end_all(partial(session_of, running.pid), grace=0.0)

    try:
        # an error: killed by a signal; sh's own deadline makes each command 0.1 s longer
        with suppress(sh.ErrorReturnCode), deadline(timeout, end):
            running.wait()
    finally:
        del STARTED[out]
    if late.is_set():
        raise StepTimedOut(f"{name} was not done in {timeout:g} s and was ended", hint=f"Try to run {name} by hand.")
    if out.size > LIMIT or err.size > LIMIT:
        raise Refused(f"{name} wrote more than {LIMIT:,} bytes", hint=f"Run {name} as a step: its log can be long.")
    return Captured(running.exit_code, out.getvalue(), err.getvalue())


class _Bounded(BytesIO):
    """Keeps what is written, up to a limit; counts it all."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]  # sh gives bytes
        self.size += len(data)
        return super().write(data[: max(0, LIMIT - self.tell())]) and len(data)
