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
    """Every backup of this environment that still holds values in plain, and what destroys them."""
    found = list(_in_plain(history.state.environment, journal))
    for backup in found:
        kept = "encrypted for its recipients" if backup.get("encrypted") else "not encrypted"
        yield say(
            f"Backup {{}} of {clock(str(backup['taken_at']))} holds the columns as they were before encryption "
            f"({kept}); it expires {clock(str(backup['expires']))}.",
            backup["path"],
        )
    if found and history.state.state == "succeeded":
        yield say(
            "{} destroys them, all but the last one that has been restored: take another one first.",
            f"deployguard backup prune --plaintext-before {history.state.id}",
        )


_ENCRYPT = "encryption.encrypt"
_IN_PLAIN_AGAIN = frozenset({"encryption.decrypt", "backup.restore"})


def _in_plain(environment: str, journal: Sequence[Record]) -> Iterator[dict[str, Any]]:
    uses: dict[tuple[str, str], str] = {}
    there: dict[str, dict[str, Any]] = {}
    encrypted = False
    for record in journal:
        match record.event:
            case e.RunStarted(environment=name, steps=steps) if name == environment:
                uses |= {(record.run, s["id"]): s["uses"] for s in steps}
            case e.StepFinished(step=step, evidence=found):
                kind = uses.get((record.run, step))
                encrypted = kind == _ENCRYPT or (encrypted and kind not in _IN_PLAIN_AGAIN)
                if kind == "backup.create" and found.get("path"):
                    there[found["path"]] = {"taken_at": record.at, "expires": record.at, **found, "clean": encrypted}
                for gone in found.get("destroyed", ()) if kind == "backup.destroy" else ():
                    there.pop(gone["path"], None)
            case e.CompensationStarted(step=step, uses=undo) if (record.run, step) in uses:
                encrypted = encrypted and undo not in {_ENCRYPT, *_IN_PLAIN_AGAIN}
    return (backup for backup in there.values() if not backup["clean"])


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
