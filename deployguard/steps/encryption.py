"""What the encryption steps share: the application's columns, its database and keys, and how counts are told."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import StringConstraints

from deployguard.databases.base import Database
from deployguard.errors import DeployguardError, Refused
from deployguard.keys.keyring import Keyring
from deployguard.rows.discover import discover
from deployguard.rows.progress import Progress as RowProgress
from deployguard.rows.progress import Pulse
from deployguard.rows.rewrite import Rewritten
from deployguard.rows.target import ColumnCount, EncryptedColumn
from deployguard.rows.verify import Verification, verify
from deployguard.source.base import Column
from deployguard.steps.base import JSON, Context, Outcome, Progress, Target

ModelField = Annotated[str, StringConstraints(pattern=r"^\w+\.\w+\.\w+$")]
"""app.Model.field"""
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
"""Why something may stay, in words."""


@dataclass(frozen=True)
class Work:
    """An open database, the columns to work on, and the keys."""

    database: Database
    columns: tuple[EncryptedColumn, ...]
    keyring: Keyring


@contextmanager
def work(context: Context, *, read_only: bool, columns: Sequence[EncryptedColumn] = ()) -> Iterator[Work]:
    """Everything that row work needs, the database closed afterwards.

    Args:
        context: of the step.
        read_only: whether the database may be written to.
        columns: to work on, where they are known; by default what the application says.

    Raises:
        Refused: the application encrypts nothing, or in a form that is not ours to write.
    """
    columns = tuple(columns) or context.discover().fields
    if not columns:
        raise Refused(
            f"the application in {context.target.directory} encrypts no column",
            hint="Bring the code that encrypts, and its dependencies, before this step.",
        )
    refuse_foreign(columns)
    with opened(context, read_only=read_only) as database:
        yield Work(database, columns, context.target.keyring)


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


def _named(name: str) -> Column:
    app, model, field = name.split(".")
    # as Django names a table and a column by default
    return Column(f"{app}.{model}", field, f"{app}_{model}".lower(), field)


def _discovered(column: EncryptedColumn) -> Column:
    model, _, field = column.field.rpartition(".")
    return Column(model, field, column.table, column.column)


def refuse_foreign(columns: Sequence[EncryptedColumn]) -> None:
    """Refuse columns whose tokens only the application itself can write.

    Raises:
        Refused: names them.
    """
    foreign = [c for c in columns if c.form != "fernet" or c.derivation != "raw" or c.stored_as != "text"]
    if foreign:
        names = ", ".join(f"{c.table}.{c.column} ({c.package or c.field_class})" for c in foreign)
        raise Refused(
            f"these columns do not hold plain Fernet tokens under the given key: {names}",
            hint="Change the field to one that stores Fernet tokens as text, or leave it out of this deployment.",
        )


def pulse_of(context: Context) -> Pulse:
    """A pulse for the row engine that shows its progress as the step's."""

    def pulse(progress: RowProgress) -> None:
        note = f"{progress.batch} rows a batch"
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


def described(found: Verification, *kinds: str) -> list[str]:
    """The problems of some kinds as sentences; all where none is named."""
    return [f"{p.table}.{p.column}: {p.describe()}" for p in found.problems if not kinds or p.kind in kinds]


def tokens_there(context: Context) -> tuple[int, int]:
    """How many tokens are under the newest key, and how many under older ones: every row is read.

    Raises:
        Refused: the application encrypts nothing, or a key or the database is not there.
    """
    with work(context, read_only=True) as w:
        found = verify(w.database, w.columns, w.keyring, pulse=pulse_of(context))
    return _under(found)


def keys_needed(target: Target) -> tuple[str, ...] | None:
    """Fingerprints of the keys that a copy of the database taken now needs; None where the keys are not there.

    With several keys every row is read: a backup that is taken after a rotation does not need the old one.
    """
    try:
        prints = target.keyring.fingerprints
        columns = discover(target.application).fields if len(prints) > 1 else ()
        if not columns:
            return prints
        database = target.connect(read_only=True)
        try:
            _, older = _under(verify(database, columns, target.keyring, pulse=lambda _: None))
        finally:
            database.close()
    except DeployguardError:
        return None
    return prints if older else prints[:1]


def _under(found: Verification) -> tuple[int, int]:
    return sum(c.primary for c in found.columns), sum(c.older for c in found.columns)


def rewritten(verb: str, tables: Sequence[Rewritten], seconds: float) -> Outcome:
    """What a rewriting step has to show."""
    rows, passes = sum(t.rows for t in tables), max((t.passes for t in tables), default=0)
    rate = rows / seconds if seconds > 0 else 0.0
    return Outcome(
        f"{rows:,} rows of {len(tables)} tables {verb} in {seconds:.1f} s ({rate:,.0f} rows/s), {passes} passes",
        evidence={
            "rows": rows, "seconds": round(seconds, 3), "rate": round(rate, 1), "passes": passes,
            "tables": [asdict(t) for t in tables],
        },
    )  # fmt: skip
