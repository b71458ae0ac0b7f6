"""Evidence of the encryption steps → each column before and after."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployguard.report.history import History
from deployguard.report.model import ColumnChange
from deployguard.report.prose import Prose, say, size

_WRITES = ("encryption.encrypt", "encryption.rotate", "encryption.decrypt")


def columns(history: History) -> tuple[ColumnChange, ...]:
    """Every encrypted column that anything on record speaks of."""
    # a count tells of before only if nothing was written yet, and of after only if nothing was written since
    first, last = history.worked(*_WRITES)
    before = _counted(history.evidence("encryption.plan", before=first))
    before = before or _counted(history.evidence("encryption.readiness", before=first))
    after = {} if undone(history) else _counted(history.evidence("encryption.verify", after=last))
    worked = _worked(history.evidence(*_WRITES))
    names = dict.fromkeys([*before, *worked, *after])
    return tuple(_change(name, before.get(name, {}), worked.get(name, {}), after.get(name, {})) for name in names)


def undone(history: History) -> bool:
    """Whether a rollback began: counts from before it say nothing of now."""
    return history.state.rolling_back is not None


def _named(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    where = f"{found['where']}: " if found.get("where") else ""
    for column in found.get("columns") or ():
        if isinstance(column, dict):
            yield f"{where}{column.get('table')}.{column.get('column')}", column


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


def growth(changes: Sequence[ColumnChange]) -> Iterator[tuple[str, Prose]]:
    """How much more the columns hold in bytes."""
    known = [(c.bytes[0], c.bytes[1]) for c in changes]
    before, after = sum(b or 0 for b, _ in known), sum(a or 0 for _, a in known)
    if before and after and all(None not in pair for pair in known):
        yield "Stored bytes", say(f"{size(before)} → {size(after)}, {after / before:.1f} times as many")
