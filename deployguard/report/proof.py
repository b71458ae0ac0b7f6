"""What is proven: columns before and after, each promise with what bears it out, and what is not covered."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployguard.journal import events as e
from deployguard.journal.base import Record
from deployguard.report.history import History
from deployguard.report.model import ColumnChange, Promise
from deployguard.report.prose import Prose, amount, clock, say

ALGORITHM = "Fernet: AES-128-CBC with PKCS7 padding, authenticated with HMAC-SHA256, a fresh random IV for each value"
_UNDONE = frozenset({"compensated", "pending", "skipped"})


def columns(history: History) -> tuple[ColumnChange, ...]:
    """Every encrypted column that anything on record speaks of."""
    before = _counted(history.evidence("encryption.plan")) or _counted(history.evidence("encryption.readiness"))
    after = {} if undone(history) else _counted(history.evidence("encryption.verify"))
    worked = _worked(history.evidence("encryption.encrypt", "encryption.rotate"))
    names = dict.fromkeys([*before, *worked, *after])
    return tuple(_change(name, before.get(name, {}), worked.get(name, {}), after.get(name, {})) for name in names)


def undone(history: History) -> bool:
    """Whether a rollback began: counts from before it say nothing of now."""
    return history.state.rolling_back is not None


def _named(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for column in found.get("columns") or ():
        if isinstance(column, dict):
            yield f"{column.get('table')}.{column.get('column')}", column


def _counted(evidence: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest counts of each column."""
    return {name: c for found in evidence for name, c in _named(found) if isinstance(c.get("plaintext"), int)}


def _worked(evidence: Iterator[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    total: dict[str, dict[str, Any]] = {}
    for found in evidence:
        for name, column in _named(found):
            so_far = total.get(name, {})
            total[name] = {
                "changed": so_far.get("changed", 0) + (number(column, "changed") or 0),
                "bytes_before": so_far.get("bytes_before", column.get("bytes_before")),
                "bytes_after": column.get("bytes_after"),
            }
    return total


def number(column: dict[str, Any], key: str) -> int | None:
    """A count, or None where it is not on record."""
    value = column.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _change(name: str, before: dict[str, Any], worked: dict[str, Any], after: dict[str, Any]) -> ColumnChange:
    def pair(*keys: str) -> tuple[int | None, int | None]:
        return _total(before, keys), _total(after, keys)

    old = number(before, "bytes")
    new = number(after, "bytes")
    return ColumnChange(
        name, rows=pair("rows"), plaintext=pair("plaintext"), encrypted=pair("primary"), older=pair("older"),
        empty=pair("null", "empty"), unknown=pair("unknown", "nested"), changed=number(worked, "changed"),
        bytes=(
            old if old is not None else number(worked, "bytes_before"),
            new if new is not None or not after else number(worked, "bytes_after"),
        ),
    )  # fmt: skip


def _total(column: dict[str, Any], keys: Sequence[str]) -> int | None:
    found = [n for key in keys if (n := number(column, key)) is not None]
    return sum(found) if found else None


def promises(history: History, changes: Sequence[ColumnChange]) -> Iterator[Promise]:
    """No row lost, no plaintext left, every value readable, reversible."""
    if undone(history):
        yield _taken_back(history)
    elif changes:
        yield _rows(changes)
        yield _plaintext(changes)
        yield _readable(history, changes)
    backup = next(iter(list(history.evidence("backup.create"))[-1:]), None)
    if backup is not None or changes:
        yield _restorable(backup)


def _taken_back(history: History) -> Promise:
    kept = [s.id for s in history.state.steps.values() if s.had_effect]
    undone_steps = sum(s.state == "compensated" for s in history.state.steps.values())
    stuck = [s.id for s in history.state.steps.values() if s.state == "stuck"]
    if stuck:
        return Promise("The former state is back", "contradicted", say("{} could not be undone.", ", ".join(stuck)))
    if history.state.state != "rolled_back":
        return Promise("The former state is back", "not proven", say("The rollback has no complete end on record."))
    evidence = f"{amount(undone_steps, 'step')} undone, each with its own end on record."
    if kept:
        return Promise("The former state is back", "not proven", say(evidence + " Nothing undoes {}.", ", ".join(kept)))
    return Promise("The former state is back", "proven", say(evidence))


def _both(changes: Sequence[ColumnChange]) -> bool:
    return all(None not in c.rows for c in changes)


def _rows(changes: Sequence[ColumnChange]) -> Promise:
    promise = "No row was lost"
    if not _both(changes):
        return Promise(promise, "not proven", say("The rows were not counted both before and after."))
    fewer = [c.name for c in changes if (c.rows[1] or 0) < (c.rows[0] or 0)]
    if fewer:
        return Promise(
            promise, "not proven",
            say("Fewer rows than before in {}. Deletions by the application meanwhile look the same.", ", ".join(fewer)),
        )  # fmt: skip
    same = all(c.rows[0] == c.rows[1] for c in changes)
    counts = f"{sum(c.rows[0] or 0 for c in changes):,} values before, {sum(c.rows[1] or 0 for c in changes):,} after"
    end = "equal in every column." if same else "nowhere fewer; the application added rows meanwhile."
    return Promise(promise, "proven", say(f"{counts} in {amount(len(changes), 'column')}: {end}"))


def _plaintext(changes: Sequence[ColumnChange]) -> Promise:
    promise = "No plaintext is left in the columns"
    if any(c.plaintext[1] is None for c in changes):
        return Promise(promise, "not proven", say("No verification of every column is on record."))
    left = sum(c.plaintext[1] or 0 for c in changes)
    if left:
        where = ", ".join(c.name for c in changes if c.plaintext[1])
        return Promise(promise, "contradicted", say(f"{amount(left, 'value')} in {{}}.", where))
    seen = sum(c.rows[1] or 0 for c in changes)
    return Promise(
        promise,
        "proven",
        say(f"All {seen:,} values were read again and classified after the last write; none is plaintext."),
    )


def _readable(history: History, changes: Sequence[ColumnChange]) -> Promise:
    promise = "Every encrypted value can be read"
    hands = [
        f
        for r in history.of(e.CheckFinished, e.StepFinished)
        if (f := getattr(r.event, "evidence", {})).get("handshake")
    ]
    shook = " The application and deployguard opened each other's tokens beforehand." if hands else ""
    if any(c.unknown[1] is None for c in changes):
        return Promise(promise, "not proven", say("No verification of every column is on record." + shook))
    bad = sum(c.unknown[1] or 0 for c in changes)
    if bad:
        where = ", ".join(c.name for c in changes if c.unknown[1])
        return Promise(
            promise, "contradicted", say(f"No known key opens {amount(bad, 'value')} in {{}}." + shook, where)
        )
    tokens = sum((c.encrypted[1] or 0) + (c.older[1] or 0) for c in changes)
    return Promise(promise, "proven", say(f"Each of {amount(tokens, 'token')} was opened with a known key.{shook}"))


def _restorable(backup: dict[str, Any] | None) -> Promise:
    promise = "There is a way back by restore"
    if backup is None:
        return Promise(promise, "not proven", say("This run has no backup on record."))
    path, digest = backup.get("path", "unknown"), str(backup.get("manifest_sha256") or "unknown")
    if backup.get("state") == "restored":
        return Promise(
            promise, "proven",
            say("The backup {} was restored into a scratch database and compared; manifest SHA-256 {}.", path, digest),
        )  # fmt: skip
    return Promise(promise, "not proven", say("The backup {} was written, but not restored to try it.", path))


def residue(history: History, changes: Sequence[ColumnChange], journal: Sequence[Record]) -> Iterator[Prose]:
    """What this run does not cover: where plaintext may still stand."""
    if changes:
        engine = str((history.state.started.target or {}).get("engine", ""))
        yield say(_FREE_SPACE.get(engine, _FREE_SPACE[""]))
        yield say(
            "Replicas, file system snapshots, application logs, caches and sessions are not looked at by this run."
        )
    yield from _old_backups(history, journal)


_FREE_SPACE = {
    "sqlite": "The database file's free pages and its write-ahead log may hold former plaintext until a checkpoint and VACUUM.",
    "postgresql": "Dead rows hold former plaintext until VACUUM FULL, write-ahead log files until they are recycled or archived away.",
    "": "The database's free space and its logs (write-ahead log, binary log) may hold former plaintext until they are rewritten.",
}  # fmt: skip


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
