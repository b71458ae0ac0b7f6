"""What the encryption steps share: the application's columns, its database and keys, and how counts are told."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from deployguard.databases import connect
from deployguard.databases.base import Database, RowTable
from deployguard.databases.server_disk import room_of
from deployguard.databases.url import parse_url
from deployguard.errors import DeployguardError, Refused
from deployguard.keys.sealer import Sealers
from deployguard.keys.tokens import raw_forms, token_forms
from deployguard.rows.classify import classes
from deployguard.rows.crew import Alone, Crew, Desk, Place, Team
from deployguard.rows.only import Only, only
from deployguard.rows.progress import BatchSize, Pulse
from deployguard.rows.progress import Progress as RowProgress
from deployguard.rows.rewrite import Rewritten
from deployguard.rows.sealers import sealing
from deployguard.rows.tables import as_declared, tables_of
from deployguard.rows.target import ColumnCount, EncryptedColumn
from deployguard.rows.throttle import Limits, Throttle
from deployguard.rows.verify import Verification, verify
from deployguard.runbook.quantities import Duration, Size
from deployguard.source.base import Column
from deployguard.steps.base import JSON, Context, Outcome, Progress, Step, Target
from deployguard.steps.column_keys import Means, means_of


class Rewriting(Step):
    """What the kinds that rewrite rows have in common, and can be told about the way they do it."""

    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    undone_by_restore: ClassVar[bool] = True

    batch: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Rows of one transaction; `auto`: as many as take about as long as `pace`."""
    pace: Duration = Field(0.2, gt=0)
    """How long a transaction should take: others wait for its locks that long."""
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    """Processes that work side by side; by default one for each core that may be used."""
    others_first: bool = True
    """Whether work on a large table steps back while others write to the database, who then hardly notice it."""
    max_lag: Duration = Field(10.0, gt=0)
    """How far replicas may fall behind before the work waits for them; see `replicas:` of the environment."""
    max_waiting: Annotated[int, Field(ge=0)] = 5
    """Sessions that may wait for a lock before the work waits for them."""
    max_load: Annotated[float, Field(gt=0)] | None = None
    """Load of this machine, for each core, at which the work waits; by default it waits for none."""
    min_free: Size = 256 * 1024 * 1024
    """Bytes that must be left on the database's disk, where that can be told; with less the work waits."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows of each table to change at most, for a trial; the rest stays as it is."""
    where: tuple[str, ...] = ()
    """Which rows, for a trial: `web_profile.id <= 1000`. All must hold, each for a column of a primary key."""

    @field_validator("where")
    @classmethod
    def _can_be_read(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        try:
            only(None, where)
        except Refused as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        return where

    def some(self) -> Only:
        """The rows that are meant."""
        return only(self.limit, self.where)

    def size(self) -> BatchSize:
        """How large a transaction begins."""
        return (
            BatchSize(seconds=self.pace)
            if self.batch == "auto"
            else BatchSize(self.batch, most=self.batch, least=self.batch)
        )

    def limits(self) -> Limits:
        """What others must not be pushed to."""
        return Limits(self.max_lag, self.max_waiting, self.max_load, self.min_free)

    def capture(self, context: Context) -> JSON:
        """The columns, as the application declares them now: when the undo comes last, that code may be gone."""
        return remembered(context.discover().fields)

    def carry_out(
        self,
        context: Context,
        rewrite: Callable[..., list[Rewritten]],
        verb: str,
        *,
        stage: str = "",
        back: bool = False,
        columns: Sequence[EncryptedColumn] = (),
    ) -> Outcome:
        """Rewrite the columns on record until a whole pass finds nothing to do.

        Args:
            context: of the step.
            rewrite: one of `rows.rewrite`, with what only it takes already given.
            verb: what it has done, for people.
            stage: tells this work from other work of the same step; the same one goes on after a crash.
            back: with the keys in the order that they had before the newest was made.
            columns: to rewrite; by default those on record.
        """
        begun = context.target.clock.monotonic()
        with work(context, columns=columns or recalled(context.before), how=self, back=back) as w:
            done = rewrite(
                w.database, w.columns, w.keyring, operation=operation_of(context, stage), fence=context.fence,
                pulse=w.pulse, crew=w.crew, batch=self.size(), some=self.some(),
            )  # fmt: skip
        return rewritten(verb, done, context.target.clock.monotonic() - begun)


class Reforming(Rewriting):
    """Rewriting after which the code from before cannot read the rows: what is wrong then, only a backup mends."""

    needs_backup: ClassVar[bool] = True

    without_backup: str = ""
    """Why it may begin without a backup that this run has restored, in words; plan and report repeat them."""


def operation_of(context: Context, stage: str = "") -> str:
    """The name that a step's work on rows goes by in the target."""
    return "/".join(filter(None, (context.run, context.step, stage)))


@dataclass(frozen=True)
class Work:
    """An open database, the columns to work on, the keys, who does it and who is told."""

    database: Database
    columns: tuple[EncryptedColumn, ...]
    keyring: Sealers
    crew: Crew
    pulse: Pulse


@contextmanager
def work(
    context: Context,
    *,
    columns: Sequence[EncryptedColumn] = (),
    how: Rewriting | None = None,
    writes: bool = False,
    back: bool = False,
) -> Iterator[Work]:
    """Everything that row work needs, connections and processes ended afterwards.

    Args:
        context: of the step.
        columns: to work on, where they are known; by default what the application says.
        how: of the step, where rows are to be rewritten; otherwise they are only read.
        writes: whether the database is to be written to without that.
        back: with the keys in the order that they had before the newest was made.

    Raises:
        Refused: the application encrypts nothing, or a column's keys are not to be had.
    """
    columns, target = tuple(columns) or context.discover().fields, context.target
    if not columns:
        elsewhere = f" of this database, but {told}" if (told := elsewhere_told(context)) else ""
        raise Refused(
            f"the application in {target.directory} encrypts no column{elsewhere}",
            hint="Bring the code that encrypts, and its dependencies, before this step.",
        )
    pulse, read_only = pulse_of(context), how is None and not writes
    with ExitStack() as stack:
        if how is not None:
            throttle = stack.enter_context(closing(_throttle(target, how.limits())))
            pulse = throttle.over(pulse)
        database = stack.enter_context(closing(target.connect(read_only=read_only)))
        means = means_of(target, columns, back=back)
        sealers = stack.enter_context(sealing(means.keys, means.beside))
        crew = team(target, database, sealers, means, read_only=read_only, how=how)
        yield Work(database, columns, sealers, stack.enter_context(crew), pulse)


def team(
    target: Target,
    database: Database,
    sealers: Sealers,
    means: Means,
    *,
    read_only: bool,
    how: Rewriting | None = None,
) -> Team:
    """This process, and others where there is much to do, to be closed by the caller.

    Args:
        target: where the database is.
        database: this process's connection to it.
        sealers: this process's.
        means: what the others make theirs of.
        read_only: whether the others write nothing either.
        how: of the step, where rows are to be rewritten.
    """
    place = Place(target.database_url or "", target.project, means.keys, read_only, means.beside)
    alone = Alone(Desk(database, sealers))
    crew = Team(place, alone, others_first=how is None or how.others_first)
    return replace(crew, many=how.workers) if how is not None and how.workers else crew


def _throttle(target: Target, limits: Limits) -> Throttle:
    others = [partial(connect, url, base=target.project, read_only=True) for url in target.replicas]
    host = parse_url(target.database_url).host if target.database_url is not None else ""
    return Throttle(limits, partial(target.connect, read_only=True), others, partial(room_of, host=host))


@contextmanager
def opened(context: Context, *, read_only: bool) -> Iterator[Database]:
    """The environment's database, closed afterwards."""
    database = context.target.connect(read_only=read_only)
    try:
        yield database
    finally:
        database.close()


def chosen_columns(context: Context, names: Sequence[str]) -> list[Column]:
    """The columns that are named as app.Model.field; by default those that the application says it encrypts."""
    if names:
        return [_named(name) for name in names]
    if context.target.application_parts is None:
        return []
    return [_discovered(column) for column in context.discover().fields if column.field]


def elsewhere_told(context: Context) -> str:
    """Encrypted columns of the application's other databases, in words; empty where there are none."""
    if context.target.application_parts is None or not (found := context.discover().elsewhere):
        return ""
    names = ", ".join(f"{column.place} ({column.database})" for column in found)
    return f"not looked at, since they are in another database: {names}"


def no_columns() -> Outcome:
    """What a check says that was given no column, and found none."""
    return Outcome(
        "the code that is there encrypts nothing yet, and no columns: are named",
        status="warn", hint="Name them: columns: [app.Model.field].",
    )  # fmt: skip


def _named(name: str) -> Column:
    app, model, field = name.split(".")
    # as Django names a table and a column by default
    return Column(f"{app}.{model}", field, f"{app}_{model}".lower(), field)


def _discovered(column: EncryptedColumn) -> Column:
    model, _, field = column.field.rpartition(".")
    return Column(model, field, column.table, column.column)


def pulse_of(context: Context) -> Pulse:
    """A pulse for the row engine that shows its progress as the step's."""

    def pulse(progress: RowProgress) -> None:
        note = progress.note or f"{progress.batch} rows a batch"
        context.pulse(Progress(progress.label, progress.done, progress.total, rate=progress.rate, note=note))

    return pulse


def remembered(columns: Sequence[EncryptedColumn]) -> JSON:
    """Columns as a journal can hold them: the undo needs them when the code that declares them is gone."""
    return {"columns": [asdict(column) for column in columns]}


def recalled(before: Mapping[str, Any]) -> tuple[EncryptedColumn, ...]:
    """Columns as `remembered` put them on record; none where nothing was."""
    return tuple(EncryptedColumn(**_tuples(column)) for column in before.get("columns", ()))


def _tuples(column: JSON) -> JSON:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in column.items()}


def counts(columns: Sequence[ColumnCount]) -> list[JSON]:
    """Counts as evidence."""
    return [asdict(column) for column in columns]


def to_encrypt(columns: Sequence[ColumnCount]) -> int:
    """Values that are plaintext still."""
    return sum(column.plaintext for column in columns)


_LOOKED_AT = 2000
"""Rows of each table in which tokens are tried before a way back is recommended."""


def locked(context: Context) -> str:
    """Where the first rows hold tokens that no key opens, in words; empty where every token opens."""
    with work(context, columns=recalled(context.before)) as w:
        found = [
            f"{each.table.name}.{column}"
            for each in tables_of(w.database, w.columns)
            for page in [w.database.page(each.table, None, _LOOKED_AT)]
            for index, column in enumerate(each.table.columns)
            if "unknown" in classes(page.columns[index], w.keyring.of(each.table.name, column))
        ]
    return f"no key opens tokens that stand in {', '.join(found)}" if found else ""


def tokens_left(context: Context, columns: Sequence[EncryptedColumn]) -> list[str]:
    """Where values are built like tokens, by their form alone: for columns whose keys are gone."""
    found: dict[str, int] = {}
    if not columns:
        return []
    with opened(context, read_only=True) as database:
        for table in dict.fromkeys(column.table for column in columns):
            shape = database.shape(table)
            names = tuple(column.column for column in columns if column.table == table)
            # the migration is undone too, so what the application said of the columns is no longer so
            each, after = as_declared(RowTable(table, shape.key, names), shape), None
            while page := database.page(each, after, _LOOKED_AT):
                for index, column in enumerate(each.columns):
                    values = [value or b"" for value in page.columns[index]]
                    forms = zip(token_forms(values), raw_forms(values), strict=True)
                    place = f"{each.name}.{column}"
                    found[place] = found.get(place, 0) + sum(text is not None or raw is not None for text, raw in forms)
                after = page.keys[-1]
    return [f"{place} ({count:,})" for place, count in found.items() if count]


def described(found: Verification, *kinds: str) -> list[str]:
    """The problems of some kinds as sentences; all where none is named."""
    return [f"{p.table}.{p.column}: {p.describe()}" for p in found.problems if not kinds or p.kind in kinds]


def tokens_there(context: Context) -> tuple[int, int]:
    """How many tokens are under the newest key, and how many under older ones: every row is read.

    Raises:
        Refused: the application encrypts nothing, or a key or the database is not there.
    """
    with work(context) as w:
        found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew)
    return _under(found)


def keys_needed(target: Target) -> tuple[str, ...] | None:
    """Fingerprints of the keys that a copy of the database taken now needs; None where the keys are not there.

    With several keys every row is read: a backup that is taken after a rotation does not need the old one.
    """
    try:
        asked = target.application_parts is not None or len(target.keys) > 1
        columns = target.discover().fields if asked else ()
        with ExitStack() as stack:
            means = means_of(target, columns)
            sealers = stack.enter_context(sealing(means.keys, means.beside))
            rings = [sealers.of(c.table, c.column).fingerprints for c in columns] or [target.keyring.fingerprints]
            if target.keys:
                rings.append(target.keyring.fingerprints)
            newest = tuple(dict.fromkeys(each for ring in rings for each in ring[:1]))
            every = tuple(dict.fromkeys(each for ring in rings for each in ring))
            if len(every) == len(newest) or not columns:
                return every
            database = stack.enter_context(closing(target.connect(read_only=True)))
            crew = stack.enter_context(team(target, database, sealers, means, read_only=True))
            _, older = _under(verify(database, columns, sealers, pulse=lambda _: None, crew=crew))
    except DeployguardError:
        return None
    return every if older else newest


def _under(found: Verification) -> tuple[int, int]:
    return sum(c.primary for c in found.columns), sum(c.older for c in found.columns)


def rewritten(verb: str, tables: Sequence[Rewritten], seconds: float) -> Outcome:
    """What a rewriting step has to show."""
    rows, passes = sum(t.rows for t in tables), max((t.passes for t in tables), default=0)
    rate = rows / seconds if seconds > 0 else 0.0
    limited = "; no more were asked for" if any(t.limited for t in tables) else ""
    return Outcome(
        f"{rows:,} rows of {len(tables)} tables {verb} in {seconds:.1f} s"
        f" ({rate:,.0f} rows/s), {passes} passes{limited}",
        evidence={
            "rows": rows, "seconds": round(seconds, 3), "rate": round(rate, 1), "passes": passes,
            "tables": [asdict(t) for t in tables],
        },
    )  # fmt: skip
