"""What is proven: each promise, with what on record bears it out, or that nothing does."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployguard.journal import events as e
from deployguard.report.columns import undone
from deployguard.report.history import History
from deployguard.report.model import ColumnChange, Promise
from deployguard.report.prose import amount, say


def promises(history: History, changes: Sequence[ColumnChange]) -> Iterator[Promise]:
    """No row lost, no plaintext left, every value readable, reversible."""
    if undone(history):
        yield _taken_back(history)
    elif changes:
        yield _rows(changes)
        yield _plaintext(changes)
        yield _readable(history, changes)
    backups = history.backups()
    if backups or changes:
        yield _restorable(backups)


def _taken_back(history: History) -> Promise:
    kept = list(_without_undo(history))
    undone_steps = sum(s.state == "compensated" for s in history.state.steps.values())
    stuck = [s.id for s in history.state.steps.values() if s.state == "stuck"]
    if stuck:
        return Promise("The former state is back", "contradicted", say("{} could not be undone.", ", ".join(stuck)))
    if history.state.state != "rolled_back":
        return Promise("The former state is back", "not proven", say("The rollback has no complete end on record."))
    evidence = f"{amount(undone_steps, 'step')} undone, each with its own end on record."
    if kept:
        return Promise(
            "The former state is back",
            "not proven",
            say(evidence + " If {} changed anything, nothing undid it.", ", ".join(kept)),
        )
    return Promise("The former state is back", "proven", say(evidence))


_ONLY_LOOKS = frozenset({
    "backup.create", "database.reachable", "disk.space", "django.check", "encryption.plan", "encryption.readiness",
    "encryption.verify", "git.clean", "http", "key.check", "log", "monitor", "sql",
})  # fmt: skip


def _without_undo(history: History) -> Iterator[str]:
    """Steps that were begun, are not undone, and may have changed something."""
    plan = {s["id"]: s for s in history.state.started.steps}
    for step in history.state.steps.values():
        looks = step.uses in _ONLY_LOOKS or plan[step.id].get("check")
        if step.had_effect and not looks and not history.undone_by_restore(step):
            yield step.id


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
            say("Fewer rows than before in {}. Deletions by the application look the same.", ", ".join(fewer)),
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
        say(f"All {seen:,} values were read after this run's last write; none is plaintext."),
    )


def _readable(history: History, changes: Sequence[ColumnChange]) -> Promise:
    promise = "Every encrypted value can be read"
    shook = " The application and deployguard opened each other's tokens beforehand." if _shook_hands(history) else ""
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


def _shook_hands(history: History) -> bool:
    for record in history.of(e.CheckFinished, e.StepFinished):
        found = getattr(record.event, "evidence", {}).get("handshake")
        if found is True or (isinstance(found, dict) and found.get("ok") is True):
            return True
    return False


def _restorable(backups: Sequence[dict[str, Any]]) -> Promise:
    promise = "There is a way back by restore"
    if not backups:
        return Promise(promise, "not proven", say("This run has no backup on record."))
    untried = [b.get("path", "unknown") for b in backups if b.get("state") != "restored"]
    if untried:
        was = "was" if len(untried) == 1 else "were"
        which = ", ".join(["{}"] * len(untried))
        noun = "backup" if len(untried) == 1 else "backups"
        return Promise(
            promise, "not proven", say(f"The {noun} {which} {was} written, but not restored to try it.", *untried)
        )
    facts = [f for b in backups for f in (b.get("path", "unknown"), b.get("manifest_sha256") or "unknown")]
    told = " ".join(
        ["The backup {} was restored into a scratch database and compared; manifest SHA-256 {}."] * len(backups)
    )
    return Promise(promise, "proven", say(told, *facts))
