"""What can happen to a run, one frozen class per fact, in the past tense.

The body of an event is plain JSON: strings, numbers, lists and objects. No event
ever holds a secret or the content of a row.
"""

import json
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

JSON = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One fact of a run. Subclasses name it and say what is known about it."""

    kinds: ClassVar[dict[str, "type[Event]"]] = {}
    survives_power_cut: ClassVar[bool] = True
    """False: it survives the death of its writer at once, a power cut only with the next event that must."""

    def __init_subclass__(cls) -> None:
        """Register the class under its name, which is also its name in the journal."""
        Event.kinds[cls.__name__] = cls

    def body(self) -> str:
        """Canonical JSON of the fact: sorted keys, no spaces, UTF-8."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def parse(kind: str, body: str) -> "Event":
        """Read back what `body()` wrote; unknown kinds and fields raise `ValueError`."""
        cls = Event.kinds.get(kind)
        if cls is None:
            raise ValueError(f"unknown event {kind}")
        values = json.loads(body)
        if not isinstance(values, dict) or not values.keys() <= {f.name for f in fields(cls)}:
            raise ValueError(f"the event {kind} has unknown fields")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"the event {kind} lacks fields") from error


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run began: what was asked, of which target, by whom, from which plan."""

    environment: str
    name: str
    runbook_digest: str
    plan_digest: str
    commit: str | None
    target: JSON | None
    """Identity of the database: engine, version, host, database, server_id."""
    actor: str
    host: str
    version: str
    """deployguard's own version."""
    settings: JSON = field(default_factory=dict)
    """`--set` values; `--only`, `--skip` and `--from` under the key "selection"."""
    definition: JSON = field(default_factory=dict)
    """The runbook as read (expressions unrendered, so no secret in it), with its file name under "file"."""
    steps: list[JSON] = field(default_factory=list)
    """The plan, in order: id, uses, summary, check, idempotent, rollback (a kind's name or None).

    A step with a database of its own has its identity under "target"; None where it did not answer.
    """


@dataclass(frozen=True, kw_only=True)
class LeaseTaken(Event):
    """This process may act on the environment; an older fence may not any more."""

    environment: str
    fence: int
    host: str
    pid: int
    pid_started: float
    """Start time of the process in clock ticks since boot, so that a reused pid is not mistaken for it."""


@dataclass(frozen=True, kw_only=True)
class LeaseReleased(Event):
    """The holder gave the environment back."""

    environment: str
    fence: int


@dataclass(frozen=True, kw_only=True)
class CheckFinished(Event):
    """A preflight check gave its verdict: pass, warn, fail or skip."""

    check: str
    uses: str
    status: str
    summary: str
    hint: str = ""
    evidence: JSON = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StepStarted(Event):
    """Intent: durable before the step's first effect."""

    step: str
    uses: str
    attempt: int
    commands: list[str] = field(default_factory=list)
    before: JSON = field(default_factory=dict)
    """What the undo will need, captured before anything was changed."""


@dataclass(frozen=True, kw_only=True)
class ProcessStarted(Event):
    """A step's command is running, so that a killed engine's successor can find it.

    It need not survive a power cut, which no process does either.
    """

    survives_power_cut: ClassVar[bool] = False

    step: str
    pid: int
    pid_started: float


@dataclass(frozen=True, kw_only=True)
class StepFinished(Event):
    """The step's effect is complete."""

    step: str
    attempt: int
    summary: str
    status: str = "pass"
    """pass or warn; a check that fails ends as `StepFailed`."""
    evidence: JSON = field(default_factory=dict)
    outputs: JSON = field(default_factory=dict)
    command_exit: int | None = None
    tail: str = ""
    log: str = ""
    """The whole output, as a path relative to the home folder; empty when there was none."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StepFailed(Event):
    """An attempt failed; `final` says whether another follows."""

    step: str
    attempt: int
    error: str
    hint: str = ""
    final: bool = True
    breached: bool = False
    """Whether it is a monitor's: what it watches is not as it should be."""
    command_exit: int | None = None
    tail: str = ""
    log: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StepSkipped(Event):
    """The step was not run: `already done`, `condition false` or `not selected`."""

    step: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepInterrupted(Event):
    """The step stopped at a safe point, or was found unfinished by the next process."""

    step: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepWaiting(Event):
    """The step waits for a person or a time; the run ends with exit code 4 and is resumed later."""

    step: str
    reason: str
    until: str | None = None
    """ISO 8601 in UTC, where a time is known."""


@dataclass(frozen=True, kw_only=True)
class DecisionTaken(Event):
    """A person decided about a step: done, retry, skip, override; or, while it was at work, pause and go on."""

    step: str
    decision: str
    who: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class AnswerGiven(Event):
    """A person answered a gate that waits: for exactly this plan, commit and target."""

    step: str
    verdict: str
    """`approve` or `reject`."""
    who: str
    why: str = ""
    plan_digest: str = ""
    commit: str | None = None
    target: JSON | None = None


@dataclass(frozen=True, kw_only=True)
class NotificationFailed(Event):
    """Somebody elsewhere was to be told, and could not be; the run went on."""

    what: str


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """One observation of a monitor's condition."""

    step: str
    condition: str
    ok: bool
    value: str
    elapsed: float
    """Seconds since the first look of the watch."""
    cursor: JSON | None = None
    """Where the look ended, for the next one."""
    missed: int = 0
    """Looks that nobody made since the one before."""
    """Seconds of watching so far, waiting between processes counted."""


@dataclass(frozen=True, kw_only=True)
class RollbackStarted(Event):
    """Compensation of finished and interrupted steps began, last step first."""

    reason: str
    actor: str
    to: str | None = None
    """Steps up to and including this one are kept."""
    via: str = "decrypt"


@dataclass(frozen=True, kw_only=True)
class CompensationStarted(Event):
    """Intent to undo a step."""

    step: str
    uses: str
    attempt: int
    commands: list[str] = field(default_factory=list)
    before: JSON = field(default_factory=dict)
    settling: bool = False
    """After every step is undone: once more, for what the outgoing code wrote meanwhile."""


@dataclass(frozen=True, kw_only=True)
class CompensationFinished(Event):
    """A step's effect is undone, or there was nothing to undo."""

    step: str
    summary: str
    evidence: JSON = field(default_factory=dict)
    tail: str = ""
    log: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CompensationFailed(Event):
    """A step could not be undone; a person must do what `left` says."""

    step: str
    error: str
    left: str
    tail: str = ""
    log: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunResumed(Event):
    """Another process, or the same person later, goes on with the run."""

    actor: str
    host: str
    accepted: JSON = field(default_factory=dict)
    """What `--accept-plan` let pass: digests of the plan, and commits, before and now; the "beginning" as it is now."""


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run stopped with an outcome; `state.py` says which may be followed by `RunResumed`."""

    state: str
    """succeeded, failed, rolled_back, rollback_incomplete, waiting, interrupted, refused or aborted."""
    reason: str = ""
