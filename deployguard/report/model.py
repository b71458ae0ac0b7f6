"""What a report says, part by part, in reading order. Only data: the wording of facts is done, the layout is not."""

from dataclasses import dataclass
from typing import Literal

from deployguard.report.prose import Prose

Tone = Literal["good", "bad", "wait", "calm"]
Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Verdict:
    """The one thing to know: a word, its tone, and the sentences that say what happened."""

    word: str
    tone: Tone
    sentences: tuple[Prose, ...]


@dataclass(frozen=True)
class Left:
    """What a rollback could not undo, and what a person must do about it."""

    step: str
    error: str
    todo: str


@dataclass(frozen=True)
class Advice:
    """What to do next; the command can be pasted as it stands."""

    text: Prose
    command: str = ""


@dataclass(frozen=True)
class Bar:
    """A stretch of the timeline.

    Attributes:
        row: Checks, Steps or Rollback.
        begin: ISO 8601 in UTC.
        number: of the step; 0 for a check.
        left, width: share of the whole run, in percent.
    """

    row: str
    number: int
    label: str
    state: str
    begin: str
    seconds: float
    left: float = 0.0
    width: float = 0.0


@dataclass(frozen=True)
class ColumnChange:
    """One column before and after; None where nothing on record says."""

    name: str
    rows: tuple[int | None, int | None]
    plaintext: tuple[int | None, int | None]
    encrypted: tuple[int | None, int | None]
    older: tuple[int | None, int | None]
    empty: tuple[int | None, int | None]
    unknown: tuple[int | None, int | None]
    changed: int | None
    bytes: tuple[int | None, int | None]


@dataclass(frozen=True)
class CheckLine:
    """One check's verdict."""

    name: str
    uses: str
    status: str
    summary: str
    hint: str
    seconds: float


@dataclass(frozen=True)
class DecisionLine:
    """Something a person decided, and when."""

    at: str
    step: str
    decision: str
    who: str
    why: str


@dataclass(frozen=True)
class Attempt:
    """One try of a step, or of its undo."""

    kind: str
    number: int
    begin: str
    state: str
    seconds: float
    commands: tuple[str, ...] = ()
    summary: str = ""
    hint: str = ""
    command_exit: int | None = None
    tail: str = ""
    log: str = ""
    evidence: Rows = ()


@dataclass(frozen=True)
class StepPart:
    """One step of the plan and everything that was tried."""

    number: int
    id: str
    uses: str
    about: str
    state: str
    status: str
    summary: str
    seconds: float
    attempts: tuple[Attempt, ...]

    @property
    def word(self) -> str:
        """Its state, with a success that warned called so."""
        return "succeeded with a warning" if self.state == "succeeded" and self.status == "warn" else self.state

    @property
    def tries(self) -> int:
        """How often it was tried, undoing not counted."""
        return sum(a.kind == "step" for a in self.attempts)

    @property
    def remarkable(self) -> bool:
        """Whether it needs more than a line in a very long report."""
        return self.state not in {"succeeded", "skipped", "pending"} or self.status != "pass" or len(self.attempts) > 1


@dataclass(frozen=True)
class UndoLine:
    """One step of the way back: what would undo it, or how that went."""

    step: str
    how: str
    state: str = ""


@dataclass(frozen=True)
class Rollback:
    """The way back, taken or still open."""

    text: tuple[Prose, ...]
    command: str
    lines: tuple[UndoLine, ...]
    restore: tuple[Prose, ...]
    restore_command: str


@dataclass(frozen=True)
class Promise:
    """A promise of this tool, and what on record bears it out."""

    promise: str
    status: Literal["proven", "not proven", "contradicted"]
    evidence: Prose


@dataclass(frozen=True)
class Task:
    """Something for a person to do afterwards."""

    task: str
    due: Prose


@dataclass(frozen=True)
class Report:
    """Everything a report says of one run."""

    run: str
    environment: str
    title: str
    about: str
    verdict: Verdict
    left: tuple[Left, ...]
    departures: tuple[Prose, ...]
    next: tuple[Advice, ...]
    facts: tuple[tuple[str, Prose], ...]
    timeline: tuple[Bar, ...]
    unshown: int
    changes: tuple[tuple[str, Prose], ...]
    columns: tuple[ColumnChange, ...]
    checks: tuple[CheckLine, ...]
    decisions: tuple[DecisionLine, ...]
    steps: tuple[StepPart, ...]
    rollback: Rollback | None
    promises: tuple[Promise, ...]
    residue: tuple[Prose, ...]
    checklist: tuple[Task, ...]
    compliance: tuple[tuple[str, Prose], ...]
    integrity: tuple[tuple[str, Prose], ...]
