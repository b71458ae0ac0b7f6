"""`run`: one command from its start to its end."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployguard.errors import Refused
from deployguard.masking import Masker
from deployguard.process.child import DRAIN, TICK, Child, start
from deployguard.process.environment import Environment
from deployguard.process.output import Output

LOG_LIMIT = 256 * 1024 * 1024
Asked = Literal["", "timed out", "stopped"]


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said, all of it masked and made visible.

    Attributes:
        exit: exit status; negative is the number of the signal that killed it.
        tail: the last forty lines, at most 8 KiB.
        head: the first 8 KiB.
        bytes_out: of the whole output, masked.
        sha256: of the whole output, masked; the log has the same bytes up to its limit.
        log: where the output is; None when there was none.
        limit: seconds it was given.
        left_behind: how many processes it left running, which were then ended.
    """

    argv: tuple[str, ...]
    exit: int
    seconds: float
    tail: str
    head: str
    bytes_out: int
    sha256: str
    log: Path | None
    timed_out: bool
    stopped: bool
    limit: float | None = None
    left_behind: int = 0

    def describe(self) -> str:
        """`exit status 3`, `killed by SIGKILL`, `timed out after 10 s`."""
        if self.stopped:
            return "ended on request"
        if self.timed_out:
            return f"timed out after {self.seconds if self.limit is None else self.limit:g} s"
        if self.exit >= 0:
            return f"exit status {self.exit}"
        try:
            return f"killed by {signal.Signals(-self.exit).name}"
        except ValueError:  # a real-time signal has a number only
            return f"killed by signal {-self.exit}"


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Environment,
    timeout: float | None,
    masker: Masker,
    log: Path | None = None,
    log_limit: int = LOG_LIMIT,
    on_line: Callable[[str], None] | None = None,
    on_output: Callable[[bytes], None] | None = None,
    on_start: Callable[[int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    grace: float = 10.0,
) -> Result:
    """Run a command to its end, whatever it does; nothing it started outlives it.

    Args:
        argv: program and words; the program is looked for in the PATH of `env`.
        cwd: folder to run in.
        env: exactly this and the mark; secrets are revealed here and nowhere before.
        timeout: seconds for the work; None is no limit. Draining and `grace` come on top.
        masker: knows all secrets of the run.
        log: gets the whole output, masked; 0600, made at the first byte, appended to if there.
        log_limit: bytes of the log; a note then says how many more there were.
        on_line: gets each line, masked, visible, cut at 4 KiB; of a flood only a part.
        on_output: gets the whole output as it comes, masked, cut anywhere.
        on_start: gets the process id and `started` of it, once, right after the start.
        should_stop: asked about every 20 ms.
        grace: seconds between TERM and KILL.

    Raises:
        Refused: the argv holds a secret; nothing was started.
        StepFailed: it could not be started.

    Memory is bounded by the sizes above, not by the output. When a callback raises,
    the process is ended first. A log that cannot be written does not end the command,
    since stopping half-way may do more harm; the tail says so.
    """
    _refuse_secrets(argv, masker)
    begun = time.monotonic()
    child = start(argv, cwd, env)
    output = Output(masker, log, log_limit, on_line, on_output)
    try:
        if on_start is not None:
            on_start(child.pid, child.began)
        asked = _follow(child, output, begun + (math.inf if timeout is None else timeout), should_stop, grace)
        left = child.end_others(0.0 if asked else grace)  # those of a child that was ended had their grace with it
        _drain(child, output)
        output.finish()
    finally:
        child.close(grace)
        output.close()
    return Result(
        argv=tuple(argv), exit=child.exit_status(), seconds=time.monotonic() - begun,
        tail=output.tail(), head=output.head(), bytes_out=output.size, sha256=output.digest.hexdigest(),
        log=output.written_log, timed_out=asked == "timed out", stopped=asked == "stopped",
        limit=timeout, left_behind=0 if asked else left,
    )  # fmt: skip


def _refuse_secrets(argv: Sequence[str], masker: Masker) -> None:
    for number, word in enumerate(argv):
        if masker.contains(word):
            raise Refused(
                f"argument {number} of {masker.mask_text(argv[0])} holds a secret: every local user could read it",
                hint="Give it in the environment (env:) or as a file (files:).",
            )


def _follow(child: Child, output: Output, until: float, should_stop: Callable[[], bool] | None, grace: float) -> Asked:
    """Read until the process has ended and its output too, or until their time is over.

    `until` moves on with each stage: deadline → end of grace → end of waiting for the killed; or, once it has
    ended by itself, the end of draining.
    """
    asked: Asked = ""
    killed = False
    while child.running or child.reading:
        now = time.monotonic()
        if child.running and not asked:
            asked = "timed out" if now >= until else "stopped" if should_stop is not None and should_stop() else ""
            if asked:
                until = now + grace
                child.signal(signal.SIGTERM)
        elif now >= until:
            if not child.running or killed:
                break
            killed, until = True, now + DRAIN
            child.signal(signal.SIGKILL)
        was_running = child.running
        for data in child.wait(min(until - now, math.inf if asked or should_stop is None else TICK)):
            output.feed(data)
        if was_running and not child.running:
            until = time.monotonic() + DRAIN
    return asked


def _drain(child: Child, output: Output) -> None:
    """Take what is left in the pipe; whoever still holds it will not be waited for."""
    until = time.monotonic() + DRAIN
    while child.reading and time.monotonic() < until:
        found = list(child.wait(0.0))
        if not found:
            break
        for data in found:
            output.feed(data)
