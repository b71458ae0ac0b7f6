"""Has an application write a marked row through its own ORM, read it back, and remove it.

Runs as `probe.py` does, beside which it stands: in the application's own interpreter, standard
library and Django only, Python 3.8. Of the scripts that run there it is the only one that opens a
connection to the database.

Nobody is told of the row: the application's signal handlers and its own `save()` are not called.
Its key is on the disk before the row is committed, so that a row whose writer died is found. It
is removed only if it still holds what was written.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import runpy
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict  # noqa: UP035 - Python 3.8

# Django comes from the application and is untyped here; these names say what is meant.
Model = Any
Field = Any
Value = Any
Finding = Any
Json = Dict[str, Any]  # noqa: UP006 - evaluated, and Python 3.8 has no dict[...]


# the script beside this one; as a module it would stand in the way of one of the application's own
probe: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("probe.py"))))


# -- what is written


def marked(finding: Finding, marker: str) -> Value:
    """A value of the field's own kind, with the marker in it where that can hold one."""
    sample = finding.sample
    if isinstance(sample, dict):
        return {"sample": marker}
    if not isinstance(sample, str):
        return sample
    if "@" in sample:
        return f"{marker}@example.org"
    if "://" in sample:
        return f"https://example.org/{marker}"
    return sample if sample[:1].isdigit() else marker


def models_of() -> dict[str, list[Finding]]:
    """Encrypted fields by the model that a row of is written; what Django does not manage is left out."""
    found: dict[str, list[Finding]] = {}
    for finding in probe.survey()[0]:
        if probe.meta(finding.model).managed:
            found.setdefault(probe.meta(finding.model).label, []).append(finding)
    return found


class NotGiven(Exception):
    """A model's row cannot be made up: which fields need a value that only the runbook can give."""

    def __init__(self, needs: list[str]) -> None:
        super().__init__()
        self.needs = needs


def filled(model: Model, findings: list[Finding], marker: str, values: Json) -> tuple[Value, dict[str, Value]]:
    """An instance to save, and by name of field what its encrypted fields were given.

    Raises:
        NotGiven: a required field has no default and no value that would do.
        LookupError: a value is given for a field that the model does not have.
    """
    instance = model()
    fields = {name: f for f in probe.meta(model).concrete_fields for name in (f.name, f.attname)}
    for name, value in values.items():
        if name not in fields:
            raise LookupError(name)
        field = fields[name]
        kind = field.target_field if field.is_relation else field
        setattr(instance, field.attname, kind.to_python(value))
    given = {fields[name].name for name in values}
    wrote = {}
    for finding in findings:
        if finding.field.name not in given:
            setattr(instance, finding.field.attname, marked(finding, marker))
        wrote[finding.field.name] = getattr(instance, finding.field.attname)
    needs = []
    for field in probe.meta(model).concrete_fields:
        if field.name not in given and field.name not in wrote and _lacks(instance, field):
            value = _harmless(field, marker)
            if value is None:
                needs.append(_described(field))
            else:
                setattr(instance, field.attname, value)
    if needs:
        raise NotGiven(needs)
    return instance, wrote


def _lacks(instance: Value, field: Field) -> bool:
    """Whether the database would not take what stands in the field now."""
    from django.db.models import AutoField

    if field.null or isinstance(field, AutoField) or getattr(field, "generated", False):
        return False
    parent = field.is_relation and getattr(field.remote_field, "parent_link", False)
    automatic = parent or getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    value = getattr(instance, field.attname)
    return not automatic and (value is None or (value == "" and (field.unique or bool(field.choices))))


def _harmless(field: Field, marker: str) -> Value:
    """A value that means as little as can be; None where there is none."""
    from django.conf import settings
    from django.db import models

    if field.is_relation:
        return None
    if field.choices:
        return next((value for value, _ in field.flatchoices), None)
    zone = dt.timezone.utc if settings.USE_TZ else None  # noqa: UP017 - Python 3.8
    kinds = [
        (models.BooleanField, False), (models.IntegerField, 0), (models.FloatField, 0.0), (models.DecimalField, 0),
        (models.DateTimeField, dt.datetime(2000, 1, 1, tzinfo=zone)), (models.DateField, dt.date(2000, 1, 1)),
        (models.TimeField, dt.time(0)), (models.DurationField, dt.timedelta(0)), (models.UUIDField, uuid.uuid4()),
        (models.GenericIPAddressField, "192.0.2.77"), (models.BinaryField, b""), (models.JSONField, {}),
        # a parent and its child have a row each
        (models.CharField, uuid.uuid4().hex[: field.max_length]), (models.TextField, marker),
    ]  # fmt: skip
    return next((value for kind, value in kinds if isinstance(field, kind)), None)


def _described(field: Field) -> str:
    if field.is_relation:
        return f"{field.name} (a row of {probe.meta(field.related_model).label})"
    return f"{field.name} ({type(field).__name__})"


# -- writing, reading, removing


def mute() -> None:
    """Let no handler of the application hear of the row: it might write a mail. This process ends with the answer."""
    from django.db.models import signals

    for each in (signals.pre_save, signals.post_save, signals.pre_delete, signals.post_delete, signals.m2m_changed):
        each.receivers = []
        each.sender_receivers_cache.clear()


def rows_of(model: Model, alias: str) -> Value:
    """All rows, whatever managers the application has."""
    from django.db.models import QuerySet

    return QuerySet(model, using=alias)


def key_of(instance: Value, alias: str) -> list[Value]:
    """The primary key as the database driver is given it: whole numbers as they are, all else as text."""
    from django.db import connections

    values = [(f, f.value_from_object(instance)) for f in _key_fields(type(instance))]
    prepared = [field.get_db_prep_value(value, connections[alias]) for field, value in values]
    return [value if isinstance(value, int) else str(value) for value in prepared]


def _key_fields(model: Model) -> list[Field]:
    options = probe.meta(model)
    return list(getattr(options, "pk_fields", None) or [options.pk])


def by_key(model: Model, key: list[Value]) -> Json:
    """The filter that finds a row."""
    return {field.attname: field.to_python(value) for field, value in zip(_key_fields(model), key)}  # noqa: B905


def note(path: str, model: str, key: list[Value]) -> None:
    """Put a row's key on the disk, through to it."""
    with open(path, "a", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(json.dumps({"model": model, "key": key}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def answer_write(request: Json) -> Json:
    """Write a row of each model, committed, and say of each what its ORM reads back."""
    mute()
    wanted = request["models"]
    found = models_of()
    unknown = [name for name in [*wanted, *request["values"]] if name not in found]
    if unknown:
        return {"unknown": unknown, "known": sorted(found), "rows": []}
    rows = [_written(name, found[name], request) for name in found if not wanted or name in wanted]
    return {"unknown": [], "known": sorted(found), "rows": rows}


def _written(name: str, findings: list[Finding], request: Json) -> Json:
    import django
    from django.db import transaction
    from django.db.models import Model as Base

    model, alias = findings[0].model, findings[0].alias
    told: Json = {
        "model": name,
        "table": probe.meta(model).db_table,
        "key_columns": [field.column for field in _key_fields(model)],
        "columns": {f.field.name: f.field.column for f in findings},
        "key": None,
        "needs": [],
        "error": "",
        "integrity": False,
        "read": {},
        "marked": [],
    }
    if django.VERSION < (5,) and probe.meta(model).parents:
        return {**told, "needs": ["Django 5: only that inserts a model that extends another one safely"]}
    try:
        instance, wrote = filled(model, findings, request["marker"], request["values"].get(name, {}))
        with transaction.atomic(using=alias):
            # never an UPDATE, of its parents neither: a key that the runbook gives may be somebody's
            instance.save_base(force_insert=(Base,) if django.VERSION >= (5,) else True, using=alias)
            key = key_of(instance, alias)
            note(request["note"], name, key)
        told["key"] = key  # only now: a constraint may be looked at when the transaction ends
        fresh = rows_of(model, alias).get(**by_key(model, key))
    except NotGiven as error:
        return {**told, "needs": error.needs}
    except LookupError as error:
        return {**told, "error": f"has no field {error}"}
    except Exception as error:
        # a message of the database may hold the row
        kinds = [each.__name__ for each in type(error).__mro__]
        return {**told, "error": type(error).__name__, "integrity": "IntegrityError" in kinds}
    told["read"] = {each: _same(fresh, each, value) for each, value in wrote.items()}
    told["marked"] = [each for each, value in wrote.items() if request["marker"] in str(value)]
    return told


def _same(instance: Value, name: str, wrote: Value) -> bool:
    field = probe.meta(type(instance)).get_field(name)
    return bool(probe.same(getattr(instance, field.attname), wrote))


def answer_remove(request: Json) -> Json:
    """Remove rows that still hold what was written, or are known to be ours: removed, gone, or another's."""
    mute()
    found = models_of()
    return {"rows": [_removed(found, row, request) for row in request["rows"]]}


def _removed(found: dict[str, list[Finding]], row: Json, request: Json) -> str:
    findings = found.get(row["model"])
    if not findings:
        return "unknown"
    model, alias = findings[0].model, findings[0].alias
    rows = rows_of(model, alias).filter(**by_key(model, row["key"]))
    try:
        if not rows.exists():
            return "gone"
        if not row["ours"]:
            _, wrote = filled(model, findings, request["marker"], request["values"].get(row["model"], {}))
            if not all(_same(rows.get(), name, value) for name, value in wrote.items()):
                return "another"
        rows.delete()
    except Exception as error:
        return f"failed: {type(error).__name__}"
    return "removed"


if __name__ == "__main__":
    probe.ANSWERS.update(write=answer_write, remove=answer_remove)
    probe.main()
