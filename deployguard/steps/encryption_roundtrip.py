"""`encryption.roundtrip`: the application writes, reads and removes a row of its own, encrypted."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from deployguard.errors import DeployguardError, Refused, StepFailed
from deployguard.rows.roundtrip import Left, Trial, left_in, problems_of, remove, write
from deployguard.rows.sealers import sealing
from deployguard.steps.base import JSON, Context, Outcome, Preview, Step
from deployguard.steps.column_keys import means_of
from deployguard.steps.encryption import opened

ModelName = Annotated[str, StringConstraints(pattern=r"^\w+\.\w+$")]
Scalar = str | int | float | bool | None


class EncryptionRoundtrip(Step):
    """Have the application write a marked row through its own ORM, read it back, and remove it.

    One row for each model that has an encrypted field. It counts only if the ORM reads back what
    it wrote, and if what stands in the environment's database is a token under the newest key.
    Nobody is told of the rows: the application's signals and its models' own `save()` are not
    called. Fields that must have a value and have no default get one that means little (0, false,
    the marker); a foreign key has none, and such a model is named and left out until `values:`
    gives one.

    Undo: a row that a kill has left is removed, if it still holds what was written; its key was on
    the disk before the row was committed.
    """

    uses: ClassVar[str] = "encryption.roundtrip"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    undone_by_restore: ClassVar[bool] = True
    example: ClassVar[str] = (
        "- id: new-data\n  uses: encryption.roundtrip\n  with:\n    models: [web.Profile, web.Order]\n"
        "    values:\n      web.Order: { profile: 1 }"
    )

    models: tuple[ModelName, ...] = ()
    """app.Model of each that is to be tried; by default all that have an encrypted field."""
    values: Mapping[ModelName, Mapping[str, Scalar]] = Field(default_factory=dict)
    """app.Model: values for fields of its row, such as the key of a row that a foreign key may point to."""

    def preview(self, context: Context) -> Preview:
        """Of which models."""
        fields = [c.field for c in context.discover().fields if c.managed and c.field]
        if not fields:
            return Preview("unknown", "which columns are encrypted is said by code that is not there yet")
        names = self.models or tuple(dict.fromkeys(field.rpartition(".")[0] for field in fields))
        return Preview(summary=f"write, read and remove a row of {', '.join(names)}", rows=len(names))

    def capture(self, context: Context) -> JSON:  # noqa: ARG002 - it is made up
        """What the rows are known by."""
        return {"marker": f"dg-{secrets.token_hex(6)}"}

    def execute(self, context: Context) -> Outcome:
        """Write, look, remove; the rows are removed whatever was seen.

        Raises:
            StepFailed: a row is not read as it was written, or not stored as a token; or it could not be removed.
            Refused: the application does not start, or has no such model.
        """
        marker = str(context.before["marker"])
        try:
            trials = write(context.target.application, marker, _note(context), self.models, self.values)
        except DeployguardError:
            with suppress(DeployguardError):  # the first thing that went wrong is what is told
                self._clean(context)
            raise
        written = [trial for trial in trials if trial.key is not None]
        try:
            problems = list(_problems(context, trials, written, marker))
        finally:
            # what the note has beyond these was left by a kill, or nobody knows whether it was committed
            known = [Left(t.model, t.key or (), ours=True) for t in written]
            others = [
                row for row in left_in(_note(context)) if (row.model, row.key) not in {(k.model, k.key) for k in known}
            ]
            self._remove(context, [*known, *others])
        if problems:
            raise StepFailed("; ".join(problems), hint=_hint(problems))
        return _outcome(trials, written)

    def compensate(self, context: Context) -> Outcome:
        """Remove the rows that a kill has left."""
        removed = self._clean(context)
        return Outcome(f"{removed} rows that were left are removed" if removed else "no row was left")

    def _clean(self, context: Context) -> int:
        return self._remove(context, left_in(_note(context)))

    def _remove(self, context: Context, rows: Sequence[Left]) -> int:
        marker = str(context.before["marker"])
        fates = remove(context.target.application, marker, rows, self.values)
        stuck = [
            f"{row.model} {'/'.join(map(str, row.key))} ({fate.removeprefix('failed: ')})"
            for row, fate in zip(rows, fates, strict=True)
            if fate.startswith(("failed", "unknown"))
        ]
        if stuck:
            raise StepFailed(
                f"rows that were written to try the encryption could not be removed: {', '.join(stuck)}",
                hint="Delete them by their primary keys; they hold nothing but a marker.",
            )
        _note(context).unlink(missing_ok=True)
        return fates.count("removed")


def _note(context: Context) -> Path:
    if context.folder is None:
        raise Refused("this step writes to the database", hint="Put it under steps:, not under preflight:.")
    return context.folder / f"{context.step}.rows"


def _problems(context: Context, trials: Sequence[Trial], written: Sequence[Trial], marker: str) -> Iterator[str]:
    for trial in trials:
        if trial.key is None and trial.error and not trial.refused:
            yield f"{trial.model}: the application cannot write a row ({trial.error})"
    means = means_of(context.target, context.discover().fields)
    with opened(context, read_only=True) as database, sealing(means.keys, means.beside) as sealers:
        for trial in written:
            yield from problems_of(trial, database, sealers, marker)
    if not written and all(trial.needs or trial.refused for trial in trials):
        yield f"no row could be written: {'; '.join(_lacking(t) for t in trials) or 'no model has an encrypted field'}"


def _hint(problems: Sequence[str]) -> str:
    if any("another key" in each for each in problems):
        return "Give deployguard and the application the same key: secrets: and django: env:."
    if any("another database" in each for each in problems):
        return "Give the application the same database as the environment's: database: and django: env:."
    if any("no row could be written" in each for each in problems):
        return "Give the fields a value: values: { app.Model: { field: … } }."
    return "Look at the field and at its column's width; nothing of the row was left."


def _outcome(trials: Sequence[Trial], written: Sequence[Trial]) -> Outcome:
    left_out = [trial for trial in trials if trial.key is None]
    evidence = {
        "models": [
            {"model": t.model, "table": t.table, "fields": list(t.columns), "tried": t.key is not None,
             "needs": list(t.needs), "error": t.error}
            for t in trials
        ]
    }  # fmt: skip
    names = ", ".join(trial.model for trial in written)
    fields = sum(len(trial.columns) for trial in written)
    good = f"{names}: {fields} fields written, stored as tokens under the newest key, read back, removed"
    if not left_out:
        return Outcome(good, evidence=evidence)
    told = "; ".join(map(_lacking, left_out))
    hint = "Give the fields a value: values: { app.Model: { field: … } }, or name the models to try: models:."
    return Outcome(f"{good}; not tried: {told}", "warn", hint, evidence)


def _lacking(trial: Trial) -> str:
    if trial.needs:
        return f"{trial.model} needs {', '.join(trial.needs)}"
    return f"{trial.model} is refused by a constraint of the database ({trial.error})"
