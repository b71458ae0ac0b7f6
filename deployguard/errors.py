"""Every way deployguard stops on purpose, one sentence per class.

The message says what happened and where; the hint says what to do next. Neither
ever holds a secret or the content of a row. Whatever is not a `DeployguardError`
is a bug and keeps its traceback.
"""

from collections.abc import Sequence
from pathlib import Path


class DeployguardError(Exception):
    """Something foreseeable stopped the work.

    Attributes:
        exit_code: the process's exit status, a stable promise to scripts.
        hint: what to do next, one or two sentences; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StepFailed(DeployguardError):
    """A step tried its work and could not do it.

    Attributes:
        exit_code_of_command: exit status of the command it ran, where there was one.
        tail: the last lines of output, masked and made visible.
    """

    def __init__(self, message: str, *, hint: str = "", command_exit: int | None = None, tail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.command_exit = command_exit
        self.tail = tail


class Breached(StepFailed):
    """What is watched is not as it should be."""


class StepTimedOut(StepFailed):
    """A step's work did not end before its deadline."""


class ConnectionLost(StepFailed):
    """A server could not be reached, or went away in the middle."""


class UsageError(DeployguardError):
    """The command was called with words it does not understand."""

    exit_code = 2


class RunbookError(DeployguardError):
    """The runbook cannot be used as written.

    Attributes:
        problems: all of them, in file order; the message is made of them.
    """

    exit_code = 2

    def __init__(self, problems: "list[Problem]") -> None:
        super().__init__("\n".join(str(p) for p in problems), hint="")
        self.problems = problems


class Problem:
    """One thing wrong in a file: where, what, and how to mend it."""

    def __init__(self, message: str, *, file: Path, line: int, column: int = 1, hint: str = "") -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{where}\n  hint: {self.hint}" if self.hint else where


class Refused(DeployguardError):
    """A precondition, check or gate said no; nothing was changed."""

    exit_code = 3


class Waiting(DeployguardError):
    """The run waits for a person or a time; it can be resumed later.

    Attributes:
        until: when it makes sense to look again, as ISO 8601 in UTC; "" where nobody knows.
    """

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "", until: str = "") -> None:
        super().__init__(message, hint=hint)
        self.until = until


class NeedsPerson(DeployguardError):
    """Only a person can decide how to go on; the hint has the exact command.

    Attributes:
        steps: the ids of those that need a decision.
    """

    exit_code = 5

    def __init__(self, message: str, *, hint: str = "", steps: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.steps = steps


class EnvironmentHeld(DeployguardError):
    """Another run holds the environment."""

    exit_code = 6


class LeaseLost(DeployguardError):
    """A later run has taken over the environment; this holder may write nothing more."""

    exit_code = 6


class Interrupted(DeployguardError):
    """The run was asked to stop and did so at a safe point; resume continues it."""

    exit_code = 7


class NotRecorded(DeployguardError):
    """The journal's disk refused an event: nothing more is done, and resume goes on from what is on record."""

    exit_code = 7


class Damaged(DeployguardError):
    """A journal, backup or manifest is not what was once written."""

    exit_code = 8
