"""The way back: what a rollback would do and in which order, or what it did."""

from collections.abc import Iterator
from typing import Any

from deployguard.journal import events as e
from deployguard.journal.state import StepState
from deployguard.report.history import History
from deployguard.report.model import Left, Rollback, UndoLine
from deployguard.report.prose import Prose, clock, say
from deployguard.runbook.matrix import split_id


def rollback(history: History) -> Rollback | None:
    """The section on going back; None where nothing was ever begun."""
    begun = [s for s in history.state.steps.values() if s.attempts]
    if not begun:
        return None
    run, complete = history.state.id, history.state.state == "rolled_back"
    backups = history.backups()
    return Rollback(
        text=tuple(_story(history)),
        command="" if complete else history.undo_command,
        lines=tuple(_done(history)) if history.state.rolling_back else tuple(_open(history, begun)),
        restore=() if complete else tuple(_restore(backups)),
        restore_command="" if complete or not backups else f"deployguard rollback {run} --via restore",
    )


def _story(history: History) -> Iterator[Prose]:
    started = history.state.rolling_back
    if started is None:
        yield say("Not rolled back. The command below undoes the steps one by one, last first, each on record.")
        return
    record = next(r for r in reversed(history.records) if r.event == started)
    how = "by restoring the backup" if started.via == "restore" else "last step first"
    yield say(f"A rollback was begun by {{}} at {clock(record.at)}, {how}.", started.actor)
    if started.reason:
        yield (*say("Reason: "), started.reason.rstrip("."), *say("."))
    if started.to:
        yield say("Steps up to {} were to be kept.", started.to)
    if history.state.state != "rolled_back":
        yield say("It is not complete. The command below goes on where it stopped.")


def _done(history: History) -> Iterator[UndoLine]:
    last: dict[str, UndoLine] = {}
    for record in history.of(e.CompensationStarted, e.CompensationFinished, e.CompensationFailed):
        match record.event:
            case e.CompensationStarted(step=step):
                last.setdefault(step, UndoLine(step, "begun, with no end on record", "open"))
            case e.CompensationFinished(step=step, summary=summary):
                last[step] = UndoLine(step, summary, "undone")
            case e.CompensationFailed(step=step, error=error):
                last[step] = UndoLine(step, error, "not undone")
    yield from last.values()
    for kept in reversed(history.state.steps.values()):
        if kept.id not in last and history.undone_by_restore(kept):
            yield UndoLine(kept.id, "went with the database that was restored", "undone")
        elif kept.had_effect and kept.id not in last:
            yield UndoLine(kept.id, "not touched by the rollback", "kept")


def _open(history: History, begun: list[StepState]) -> Iterator[UndoLine]:
    plan = {s["id"]: s for s in history.state.started.steps}
    when = _on_request(history.state.started.definition)
    for step in reversed(begun):
        undo = plan[step.id].get("rollback")
        if split_id(step.id)[0] in when:
            yield UndoLine(step.id, f"stays; {undo or 'restoring it'} is option 2")
        elif undo:
            yield UndoLine(step.id, f"{undo} undoes it" if undo != step.uses else f"{undo} knows its own undo")
        else:
            yield UndoLine(step.id, "nothing to undo")


def _on_request(definition: dict[str, Any]) -> set[str]:
    """Steps whose undo runs only when a person asks for it."""
    return {
        str(s.get("id") or s.get("uses"))
        for s in definition.get("steps") or ()
        if isinstance(s, dict) and (s.get("rollback") or {}).get("when") == "requested"
    }


def _restore(backups: list[dict[str, Any]]) -> Iterator[Prose]:
    if not backups:
        yield say("This run has no backup on record, so there is nothing to restore.")
        return
    taken = {"restored": "restored once to try it", "readable": "read back once", "written": "written, not tried"}
    for backup in backups:
        where = [backup["where"]] if backup.get("where") else []
        state = taken.get(str(backup.get("state")), "state unknown")
        yield say(
            f"It loses everything written to the database{' of {}' * len(where)} since the backup was taken: "
            f"{{}} ({state}).",
            *where, backup.get("path"),
        )  # fmt: skip


def left(history: History) -> tuple[Left, ...]:
    """What is for a person to do after a rollback that could not finish."""
    failed: dict[str, Left] = {}
    for record in history.of(e.CompensationFailed, e.CompensationFinished):
        match record.event:
            case e.CompensationFailed(step=step, error=error, left=todo):
                failed[step] = Left(step, error, todo)
            case e.CompensationFinished(step=step):
                failed.pop(step, None)
    return tuple(failed.values())
