"""`rehearse`: the whole change, there and back, on a copy of the real data."""

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import Annotated, Any, ClassVar

from pydantic import Field

from deployguard.backup.rehearsal import Copies, copies
from deployguard.databases import connect
from deployguard.databases.base import Database
from deployguard.databases.pressure import figures
from deployguard.errors import DeployguardError, Refused, StepFailed
from deployguard.rows.compare import Difference, Seen, as_read, as_stored, differences
from deployguard.rows.sealers import sealing
from deployguard.rows.target import EncryptedColumn
from deployguard.runbook.quantities import Duration, spell
from deployguard.secret import Secret
from deployguard.steps.backup_create import pulse_of as pulse_of_copies
from deployguard.steps.base import JSON, Context, Outcome, Preview, Step, told
from deployguard.steps.column_keys import means_of
from deployguard.steps.encryption import pulse_of

_LOOK = 0.1
"""Seconds between two looks at the transactions of the copy."""


class Rehearse(Step):
    """Try later steps of this runbook on a scratch copy of the database, and then their undo.

    Each step is carried out as it will be, by the application's own code, on a copy that nobody
    else uses and that is removed at the end. After every step that changes something each value
    of the encrypted columns is compared as the application reads it; after the way back, byte by
    byte. What a migration would change on the way, what does not fit and what does not come back
    is found here, by table, column and primary key, and the real database is not touched.
    """

    uses: ClassVar[str] = "rehearse"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    example: ClassVar[str] = (
        "- id: rehearse\n  uses: rehearse\n  with: { steps: [migrate, encrypt, verify, tests], url_in: DATABASE_URL }"
    )

    steps: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids of later steps, in the order in which they are tried."""
    and_back: bool = True
    """Whether their undo is tried too, last first."""
    url_in: str = "DATABASE_URL"
    """The environment variable from which the application takes its database's URL."""
    deadline: Duration = Field(600.0, gt=0)
    """How long copying the database may take."""

    def preview(self, context: Context) -> Preview:  # noqa: ARG002 - the steps tell of themselves
        """Which steps would be tried."""
        back = " and their undo" if self.and_back else ""
        return Preview(summary=f"try {', '.join(self.steps)}{back} on a copy that is removed afterwards")

    def execute(self, context: Context) -> Outcome:
        """Copy, try, compare, remove.

        Raises:
            StepFailed: a step failed on the copy, or left a value other than it was.
            Refused: the application does not take its database from the variable.
        """
        if context.target.database_url is None or context.folder is None:
            raise Refused("there is no database to rehearse on", hint="Add database: to the environment.")
        begun = context.target.clock.monotonic()
        failed: DeployguardError | None = None
        with copies(
            context.target.database_url, base=context.target.project, folder=context.folder / "rehearsal",
            name=f"{context.run}-{context.step}", deadline=self.deadline,
            pulse=pulse_of_copies(context),
        ) as made:  # fmt: skip
            try:
                steps = _Rehearsal(self, context, made).carry_out()
            except DeployguardError as error:
                failed = error
        if failed is not None:  # its message goes on record, so it is where the removal does
            failed.message = f"{failed.message} (the copies are removed)"
            raise failed
        seconds = context.target.clock.monotonic() - begun
        back = ", every byte came back" if self.and_back else ""
        each = "; ".join(f"{step['step']} {told(step)}" for step in steps)
        return Outcome(
            f"{', '.join(self.steps)} tried on a copy: every value reads the same{back} ({spell(seconds)});"
            f" the copies are removed; {each}",
            evidence={"steps": steps, "copy": "removed", "seconds": round(seconds, 1)},
        )

    def compensate(self, context: Context) -> Outcome | None:
        """Remove what a killed rehearsal left; a finished one has left nothing."""
        if context.folder is None or context.target.database_url is None:
            return None
        if not any(context.folder.glob("rehearsal*")):
            return Outcome("its copies were removed when it ended")
        with copies(
            context.target.database_url, base=context.target.project, folder=context.folder / "rehearsal",
            name=f"{context.run}-{context.step}", deadline=self.deadline,
            pulse=pulse_of_copies(context),
        ):  # fmt: skip
            # making them anew is what removes the former ones, whatever the database product
            return Outcome("the copies that were left are removed")


@dataclass
class _Done:
    id: str
    step: Step
    context: Context


class _Rehearsal:
    """One rehearsal, on copies that are there."""

    def __init__(self, step: Rehearse, context: Context, made: Copies) -> None:
        self._step, self._made = step, made
        self._context = replace(context, target=self._scratch_target(context))
        self._told: list[JSON] = []
        self._require_scratch()

    def _scratch_target(self, context: Context) -> Any:  # noqa: ANN401
        target = context.target
        application = target.application
        moved = replace(application, env={**application.env, self._step.url_in: self._made.tried})
        return replace(target, database_url=self._made.tried, application_parts=moved, remembered={})

    def _require_scratch(self) -> None:
        # the application must be on the copy before anything of it is let loose
        copy = self._context.target.connect(read_only=True)
        try:
            wanted = copy.identity().database
        finally:
            copy.close()
        names = [d.name for d in self._context.discover().databases if d.alias == "default"]
        if not names or names[0].rsplit("/", 1)[-1] != wanted.rsplit("/", 1)[-1]:
            raise Refused(
                f"the application does not take its database from {self._step.url_in}",
                hint="Name the variable in url_in:; its settings must read a database URL from it.",
            )

    def carry_out(self) -> list[JSON]:
        """There, and back; what each step took."""
        done = [self._try(name) for name in self._step.steps]
        if self._step.and_back:
            for each in reversed(done):
                self._undo(each)
            self._compare("the way back", as_stored)
        return self._told

    def _try(self, name: str) -> _Done:
        assert self._context.sibling is not None, "an executed step has siblings"  # noqa: S101
        step, env = self._context.sibling(name)
        context = replace(self._context, step=name, env={**env, **self._variable()}, before={})
        context = replace(context, before=step.capture(context))
        measure = _Measure(context)
        try:
            with measure:
                outcome = step.execute(context)
        except DeployguardError as error:
            raise StepFailed(
                f"on a copy of the data, {name} failed: {error.message}",
                hint=error.hint,
                tail=getattr(error, "tail", ""),
            ) from error
        if outcome.status == "fail":
            raise StepFailed(f"on a copy of the data, {name} failed: {outcome.summary}", hint=outcome.hint)
        self._tell(name, step, outcome, measure)
        if not step.check:
            means = means_of(context.target, self._context.discover().fields)
            with sealing(means.keys, means.beside) as sealers:
                self._compare(name, as_read(sealers))
        return _Done(name, step, context)

    def _variable(self) -> dict[str, str | Secret]:
        return {self._step.url_in: self._made.tried}

    def _undo(self, done: _Done) -> None:
        measure = _Measure(done.context)
        try:
            with measure:
                outcome = done.step.compensate(done.context)
        except DeployguardError as error:
            raise StepFailed(
                f"on a copy of the data, {done.id} could not be undone: {error.message}", hint=error.hint
            ) from error
        if outcome is not None:
            self._tell(f"undo of {done.id}", done.step, outcome, measure)

    def _tell(self, name: str, step: Step, outcome: Outcome, measure: "_Measure") -> None:
        self._told.append({"step": name, "uses": step.uses, "summary": outcome.summary, **measure.taken()})

    def _compare(self, after: str, seen: Seen) -> None:
        columns = self._context.discover().fields
        if not columns:
            raise Refused("the application encrypts no column", hint="Rehearse after the step that brings its code.")
        if bad := self._differences(columns, seen):
            raise StepFailed(
                f"on a copy of the data, {after} changed what is stored: {'; '.join(d.describe() for d in bad)}",
                hint="Look at these rows and at the migration. The real database has not been touched.",
            )

    def _differences(self, columns: tuple[EncryptedColumn, ...], seen: Seen) -> list[Difference]:
        kept = self._open(self._made.kept)
        tried = self._open(self._made.tried)
        try:
            return differences(kept, tried, columns, seen, pulse=pulse_of(self._context))
        finally:
            kept.close()
            tried.close()

    def _open(self, url: Secret) -> Database:
        return connect(url, base=self._context.target.project, read_only=True)


class _Measure:
    """What a step takes on the copy: seconds, bytes that the database grows by, and its longest transaction.

    Nobody else is on the copy, so the oldest transaction there is the step's own: for as long others
    would wait for its locks. It is looked at from another session, where the product has such figures.
    """

    def __init__(self, context: Context) -> None:
        self._clock, self._connect = context.target.clock, context.target.connect
        self._done, self._oldest = Event(), 0.0
        self._seen = False
        self._watching = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._size, self._begun = self._sized(), self._clock.monotonic()
        self._watching.start()

    def __exit__(self, *_: object) -> None:
        self._seconds = self._clock.monotonic() - self._begun
        self._done.set()
        self._watching.join()

    def taken(self) -> JSON:
        """As evidence."""
        return {
            "seconds": round(self._seconds, 2), "growth": self._sized() - self._size,
            "transaction": round(self._oldest, 2) if self._seen else None,
        }  # fmt: skip

    def _sized(self) -> int:
        with closing(self._connect(read_only=True)) as database:
            return database.size()

    def _watch(self) -> None:
        # a measure that cannot be taken is none; it stops no rehearsal
        with suppress(DeployguardError), closing(self._connect(read_only=True)) as database:
            while (found := figures(database).get("oldest_transaction")) is not None:
                self._seen, self._oldest = True, max(self._oldest, found)
                if self._done.wait(_LOOK):
                    return
