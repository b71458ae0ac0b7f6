"""The only place where processes are started, and the one that sees them to their end.

    start ─ read ─┬─ it ends ──────────────── drain 2 s ─┐
                  └─ deadline, stop ─ TERM ─ grace ─ KILL ─┴─ end what it left behind ─ Result

A child gets a session of its own, so it has no terminal and one signal reaches its
group. What leaves the session (a daemon forks twice) still comes back to us: on Linux
we adopt orphans, and know them by a mark in their environment. Beyond reach is only
who leaves the session, loses its parent and wipes its environment, all three.

Why this is not `sh` but for `capture`: docs/decisions/0002-processes.md.
"""

from deployguard.process.capture import Captured, capture
from deployguard.process.command import Result, run
from deployguard.process.environment import MARK, base_environment
from deployguard.process.family import end_leftover, end_orphans, started

__all__ = [
    "MARK", "Captured", "Result", "base_environment", "capture", "end_leftover", "end_orphans", "run", "started",
]  # fmt: skip
