"""What an auditor asks: what is encrypted, with which key kept where, and what this run does not cover."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployguard.journal import events as e
from deployguard.journal.base import Record
from deployguard.report.columns import undone
from deployguard.report.history import History
from deployguard.report.model import ColumnChange
from deployguard.report.prose import Prose, Wording, clock, say

ALGORITHM = "Fernet: AES-128-CBC with PKCS7 padding, authenticated with HMAC-SHA256, a fresh random IV for each value"


def residue(history: History, changes: Sequence[ColumnChange], journal: Sequence[Record]) -> Iterator[Prose]:
    """What this run does not cover: where plaintext may still stand."""
    if changes:
        scrubbed = list(history.evidence("encryption.scrub"))[-1:]
        for found in scrubbed:
            yield from _looked_at(found)
        if not scrubbed:
            engine = str((history.state.started.target or {}).get("engine", ""))
            yield say(_FREE_SPACE.get(engine, _FREE_SPACE[""]))
            yield say("{} cleans the tables' files, and says what it does not reach.", "deployguard data scrub")
        yield say(
            "Replicas, file system snapshots, application logs, caches and sessions are not looked at by this run."
        )
    yield from _old_backups(history, journal)


_FREE_SPACE = {
    "sqlite": "The file's free pages and its write-ahead log may hold former plaintext until a checkpoint and VACUUM.",
    "postgresql": "Dead rows hold former plaintext until VACUUM FULL, write-ahead log files until they are recycled.",
    "": "The database's free space and its logs may hold former plaintext until they are rewritten.",
}  # fmt: skip


def _looked_at(found: dict[str, Any]) -> Iterator[Prose]:
    samples = found.get("samples", 0)
    for place in found.get("places") or ():
        if place.get("why_not"):
            yield str(place.get("what")), Wording(": not looked at, "), str(place["why_not"]), Wording(".")
        else:
            before, after = place.get("before"), place.get("found")
            told = f": of {samples} former values {before} stood there before it was cleaned, {after} do now."
            yield str(place.get("what")), Wording(told)
    for echo in found.get("echoes") or ():
        until = (Wording(" until "), str(echo["until"])) if echo.get("until") else ()
        fix = (Wording(" "), str(echo["fix"])) if echo.get("fix") else ()
        yield str(echo.get("what")), Wording(" may hold former values"), *until, Wording("."), *fix


def _old_backups(history: History, journal: Sequence[Record]) -> Iterator[Prose]:
    uses: dict[tuple[str, str], str] = {}
    here: set[str] = set()
    for record in journal:
        match record.event:
            case e.RunStarted(environment=name, steps=steps):
                uses |= {(record.run, s["id"]): s["uses"] for s in steps}
                here |= {record.run} if name == history.state.environment else set()
            case e.StepFinished(step=step, evidence=found) if record.run in here:
                if uses.get((record.run, step)) == "backup.create" and found.get("path"):
                    kept = "encrypted for its recipients" if found.get("encrypted") else "not encrypted"
                    yield say(
                        f"Backup {{}} of {clock(record.at)} holds the data as it was then ({kept}).", found["path"]
                    )


def compliance(history: History, changes: Sequence[ColumnChange]) -> Iterator[tuple[str, Prose]]:
    """What an auditor asks: what, how, with which key kept where, and when it changes."""
    if not changes:
        return
    if undone(history):
        yield (
            "State",
            say("A rollback began: these are the columns that the change was about, not ones that are encrypted now."),
        )
    yield "Columns", _list([c.name for c in changes])
    yield "Algorithm", say(ALGORITHM)
    for found in list(history.evidence("key.check"))[-1:]:
        for key in found.get("keys") or ():
            yield (
                f"Key {key.get('name', '')}",
                say("fingerprint {}, kept in {}", key.get("fingerprint"), key.get("source")),
            )
    yield "Rotation", _rotation(history.state.started.definition)


def _list(names: Sequence[str]) -> Prose:
    return say(", ".join(["{}"] * len(names)), *names)


def _rotation(definition: dict[str, Any]) -> Prose:
    for entry in tasks(definition):
        if "rotat" in entry[0].lower():
            return (
                f"{entry[0]}"
                + (
                    f" ({entry[1]} after the run)" if entry[1].startswith("+") else f" ({entry[1]})" if entry[1] else ""
                ),
            )
    return say("The runbook schedules none. Add a task with a due date to its checklist.")


def tasks(definition: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The checklist: each task, and when it is due as the runbook says it."""
    for entry in (definition.get("after") or {}).get("checklist") or ():
        if isinstance(entry, dict):
            yield str(entry.get("task", "")), str(entry.get("due") or "")
        else:
            yield str(entry), ""
