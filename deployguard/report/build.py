"""Records → Report: everything a report says, from the journal alone. Pure, and the same for the same journal."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from deployguard.errors import UsageError
from deployguard.journal import events as e
from deployguard.journal.base import Record
from deployguard.report.columns import columns, growth, undone
from deployguard.report.compliance import compliance, residue, tasks
from deployguard.report.history import History, parts, read, timeline, versions
from deployguard.report.model import CheckLine, DecisionLine, Report, StepPart, Task
from deployguard.report.proof import promises
from deployguard.report.prose import Prose, between, clock, moment, say
from deployguard.report.undo import left, rollback
from deployguard.report.verdict import advice, departures, preflight_only, target, verdict
from deployguard.runbook.quantities import seconds, spell

_PACKAGES = 20


def build(records: Sequence[Record], run_id: str) -> Report:
    """The report of one run.

    Args:
        records: the whole journal, in order: a report also names the run that was
            promoted, and the backups of earlier runs that still hold plaintext.
        run_id: which run.

    Raises:
        UsageError: the journal has no such run.
        Damaged: an event that the run could not have recorded at that point.
    """
    mine = [r for r in records if r.run == run_id]
    if not mine:
        raise UsageError(f"there is no run {run_id}", hint="'deployguard runs' lists them.")
    history = read(mine)
    started = history.state.started
    steps = parts(history)
    bars, unshown = timeline(history, steps)
    changes = columns(history)
    return Report(
        run=run_id, environment=started.environment, title=started.name, about=_about(history),
        verdict=verdict(history, changes), left=left(history), departures=tuple(departures(history)),
        next=tuple(advice(history)),
        facts=tuple(_facts(history, records)), timeline=bars, unshown=unshown,
        changes=(*_changes(history), *growth(changes)), columns=changes, checks=tuple(_checks(history)),
        decisions=tuple(_decisions(history)), steps=steps, rollback=rollback(history),
        promises=tuple(promises(history, changes)), residue=tuple(residue(history, changes, records)),
        checklist=tuple(_checklist(history)), compliance=tuple(compliance(history, changes)),
        integrity=tuple(_integrity(history, steps)),
    )  # fmt: skip


def _about(history: History) -> str:
    return str(history.state.started.definition.get("summary") or "")


def _facts(history: History, journal: Sequence[Record]) -> Iterator[tuple[str, Prose]]:
    started = history.state.started
    yield "Run", say("{}", history.state.id)
    yield "Environment", say("{}", started.environment)
    if started.target:
        yield "Target", say("{}", target(started.target))
    yield "Commit", say("{}", started.commit) if started.commit else say("none: no code is deployed by this runbook")
    yield "By", say("{} on {}", started.actor, started.host)
    yield "Begun", say(clock(history.begin))
    yield ("Ended", say(clock(history.end))) if history.state.ended else ("Last on record", say(clock(history.end)))
    yield "Took", say(spell(between(history.begin, history.end)))
    yield from (("Resumed", say(f"by {{}} on {{}} at {clock(at)}", who, host)) for at, who, host in _resumed(history))
    chosen = {k: v for k, v in started.settings.items() if k != "selection"}
    if chosen:
        yield "Set by hand", say(", ".join(["{}"] * len(chosen)), *(f"{k}={v}" for k, v in sorted(chosen.items())))
    yield from _promoted(history, journal)


def _resumed(history: History) -> Iterator[tuple[str, str, str]]:
    for record in history.of(e.RunResumed):
        if isinstance(record.event, e.RunResumed):
            yield record.at, record.event.actor, record.event.host


def _promoted(history: History, journal: Sequence[Record]) -> Iterator[tuple[str, Prose]]:
    """The run elsewhere that this one rests on, looked up in the journal itself."""
    for found in list(history.evidence("promotion"))[-1:]:
        ended = [r.at for r in journal if r.run == found.get("run") and isinstance(r.event, e.RunFinished)]
        when = f", ended {clock(ended[-1])}" if ended else ""
        yield "Promoted from", say(f"{{}}, run {{}}{when}", found.get("environment"), found.get("run"))


def _changes(history: History) -> Iterator[tuple[str, Prose]]:
    """Code, packages and schema; the rows have a table of their own."""
    if undone(history):
        yield "Since then", say("A rollback began; what stands below is what was done before it.")
    for found in history.evidence("git.update"):
        yield (
            "Code",
            (*say("{} → {} ", str(found.get("from"))[:12], str(found.get("to"))[:12]), str(found.get("subject") or "")),
        )
    for found in history.evidence("python.install"):
        names = [*map(str, found.get("installed") or ()), *versions(found.get("changed") or ())]
        if names:
            more = " and others" if len(names) > _PACKAGES else ""
            yield "Packages", say(", ".join(["{}"] * len(names[:_PACKAGES])) + more, *names[:_PACKAGES])
    for found in history.evidence("django.migrate"):
        yield "Schema", say("{}: {} → {}", found.get("app"), found.get("from"), found.get("to"))


def _checks(history: History) -> Iterator[CheckLine]:
    for check in history.state.checks:
        yield CheckLine(check.check, check.uses, check.status, check.summary, check.hint, check.seconds)


def _decisions(history: History) -> Iterator[DecisionLine]:
    for record in history.of(e.DecisionTaken):
        if isinstance(taken := record.event, e.DecisionTaken):
            yield DecisionLine(clock(record.at), taken.step, taken.decision, taken.who, taken.why)


def _checklist(history: History) -> Iterator[Task]:
    done = history.state.ended if history.state.state == "succeeded" and not preflight_only(history) else None
    for task, due in tasks(history.state.started.definition):
        yield Task(task, _due(due, done))


def _due(due: str, ended: str | None) -> Prose:
    if not due.startswith("+"):
        return (due,) if due else ()
    if ended is None:
        return (due[1:], *say(" after success"))
    try:
        return say(_date(moment(ended).date(), seconds(due[1:])))
    except (ValueError, OverflowError):
        return (due,)


def _date(end: date, later: float) -> str:
    return (end + timedelta(seconds=later)).isoformat()


def _integrity(history: History, steps: Sequence[StepPart]) -> Iterator[tuple[str, Prose]]:
    started, first, last = history.state.started, history.records[0], history.records[-1]
    yield "Run", say("{}", history.state.id)
    yield "Runbook", say("{}, SHA-256 {}", started.definition.get("file") or "runbook", started.runbook_digest)
    yield "Plan", say(f"{len(steps):,} steps, SHA-256 {{}}", started.plan_digest)
    yield "Journal", say(f"{len(history.records):,} events of this run, numbers {first.seq:,} to {last.seq:,}")
    yield "deployguard", say("{}", started.version)
