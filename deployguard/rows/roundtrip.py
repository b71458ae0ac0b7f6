"""A marked row through the application's own ORM: written, read, looked at as it is stored, removed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployguard.databases.base import Database, RowTable
from deployguard.errors import Refused
from deployguard.keys.sealer import Sealer, Sealers
from deployguard.rows.application import Application
from deployguard.rows.classify import classify
from deployguard.rows.tables import as_declared

_SCRIPT = Path(__file__).with_name("probe_roundtrip.py")

Values = Mapping[str, Mapping[str, Any]]
"""By model "app.Model", what the runbook gives some of its fields."""


@dataclass(frozen=True)
class Left:
    """A row that was written and is not known to be removed.

    Attributes:
        ours: whether it was written and seen a moment ago. If not, it is removed only if it holds
            what was written: the key may have become another row's.
    """

    model: str
    key: tuple[Any, ...]
    ours: bool = False


@dataclass(frozen=True)
class Trial:
    """What became of one model's row.

    Attributes:
        key: its primary key; None where no row was committed.
        needs: required fields that only the runbook can give a value.
        error: class of the exception that stopped it, or what else did.
        refused: whether the database refused the row by a constraint.
        columns: of the encrypted fields, by name of field.
        read: by name of field, whether the ORM read back what was written.
        marked: names of the fields whose value holds the marker.
    """

    model: str
    table: str
    key_columns: tuple[str, ...]
    columns: Mapping[str, str]
    key: tuple[Any, ...] | None
    needs: tuple[str, ...]
    error: str
    refused: bool
    read: Mapping[str, bool]
    marked: tuple[str, ...]


def write(
    application: Application, marker: str, note: Path, models: Sequence[str] = (), values: Values | None = None
) -> list[Trial]:
    """Have the application write a row of each model, or of some, each committed.

    Args:
        application: whose ORM writes.
        marker: stands in every field that can hold it.
        note: file that each row's key is put into before the row is committed.
        models: "app.Model"; all that have an encrypted field where none is named.
        values: for fields that have no default.

    Raises:
        Refused: the application does not start, or has no such model with an encrypted field.
    """
    asked = {
        "do": "write", "marker": marker, "note": str(note.absolute()), "models": list(models),
        "values": {model: dict(given) for model, given in (values or {}).items()},
    }  # fmt: skip
    [said] = application.ask(asked, script=_SCRIPT)
    if said["unknown"]:
        raise Refused(
            f"the application has no model with an encrypted field named {', '.join(said['unknown'])}",
            hint=f"It has {', '.join(said['known']) or 'none'}.",
        )
    return [_trial(row) for row in said["rows"]]


def _trial(row: Mapping[str, Any]) -> Trial:
    return Trial(
        row["model"], row["table"], tuple(row["key_columns"]), row["columns"],
        tuple(row["key"]) if row["key"] is not None else None, tuple(row["needs"]), row["error"], row["integrity"],
        row["read"], tuple(row["marked"]),
    )  # fmt: skip


def remove(application: Application, marker: str, rows: Sequence[Left], values: Values | None = None) -> list[str]:
    """Have the application remove rows; what became of each: removed, gone, another, unknown, or "failed: WHY".

    Args:
        application: whose ORM removes.
        marker: that the rows were written with.
        rows: to be removed.
        values: as the rows were written with.

    Raises:
        Refused: the application does not start.
    """
    asked = {
        "do": "remove", "marker": marker, "values": {model: dict(given) for model, given in (values or {}).items()},
        "rows": [{"model": row.model, "key": list(row.key), "ours": row.ours} for row in rows],
    }  # fmt: skip
    found: list[str] = application.ask(asked, script=_SCRIPT)[0]["rows"] if rows else []
    return found


def left_in(note: Path) -> list[Left]:
    """The rows that a note names; a line that its writer did not end stands for a row that was never committed."""
    lines = note.read_text("utf-8").split("\n")[:-1] if note.exists() else []
    return [Left(row["model"], tuple(row["key"])) for row in map(json.loads, lines)]


def problems_of(trial: Trial, database: Database, sealers: Sealers, marker: str) -> list[str]:
    """What is wrong with a row as the application reads it and as it is stored; nothing where all is well."""
    found = [
        f"{trial.model}.{name}: the application does not read back what it wrote"
        for name, same in trial.read.items()
        if not same
    ]
    if trial.error:
        found.append(f"{trial.model}: the application cannot read the row that it wrote ({trial.error})")
    fields = list(trial.columns)
    table = RowTable(trial.table, trial.key_columns, tuple(trial.columns.values()))
    table = as_declared(table, database.shape(table.name))
    rows = database.rows(table, [trial.key or ()])
    if not rows:
        return [*found, f"{trial.model}: the application wrote the row to another database than the environment's"]
    for name, value in zip(fields, rows[0].values, strict=True):
        sealer = sealers.of(trial.table, trial.columns[name])
        kind = classify(value, sealer)
        if kind != "primary":
            found.append(f"{trial.model}.{name}: what is stored {_MEANS[kind]}")
        elif name in trial.marked and marker.encode() not in _opened(sealer, value):
            found.append(f"{trial.model}.{name}: the stored token holds something else than was written")
    return found


_MEANS = {
    "null": "is NULL", "empty": "is empty", "plaintext": "is not encrypted",
    "older": "is a token under an older key: the application does not write with the newest",
    "unknown": "is a token that no given key opens: the application has another key", "nested": "is encrypted twice",
}  # fmt: skip


def _opened(sealer: Sealer, value: bytes | None) -> bytes:
    opened = sealer.open(value or b"")
    return opened.plaintext if opened is not None else b""
