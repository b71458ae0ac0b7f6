"""What the encryption steps share: the application's columns, its database and keys, and how counts are told."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from deployguard.databases.base import Database
from deployguard.errors import Refused
from deployguard.keys.keyring import Keyring
from deployguard.rows.classify import classes
from deployguard.rows.progress import Progress as RowProgress
from deployguard.rows.progress import Pulse
from deployguard.rows.rewrite import Rewritten
from deployguard.rows.tables import tables_of
from deployguard.rows.target import ColumnCount, EncryptedColumn
from deployguard.rows.verify import Verification
from deployguard.steps.base import JSON, Context, Outcome, Progress


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


_LOOKED_AT = 2000
"""Rows of each table in which tokens are tried before a way back is recommended."""


def locked(context: Context) -> str:
    """Where the first rows hold tokens that no key opens, in words; empty where every token opens."""
    with work(context, read_only=True, columns=recalled(context.before)) as w:
        found = [
            f"{each.table.name}.{column}"
            for each in tables_of(w.database, w.columns)
            for page in [w.database.page(each.table, None, _LOOKED_AT)]
            for index, column in enumerate(each.table.columns)
            if "unknown" in classes([row.values[index] for row in page], w.keyring)
        ]
    return f"no key opens tokens that stand in {', '.join(found)}" if found else ""


def described(found: Verification, *kinds: str) -> list[str]:
    """The problems of some kinds as sentences; all where none is named."""
    return [f"{p.table}.{p.column}: {p.describe()}" for p in found.problems if not kinds or p.kind in kinds]


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
