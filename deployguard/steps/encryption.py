"""What the encryption steps share: the application's columns, its database and keys, and how counts are told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from deployguard.databases.base import Database
from deployguard.errors import Refused
from deployguard.keys.keyring import Keyring
from deployguard.rows.target import ColumnCount, EncryptedColumn
from deployguard.steps.base import Context, Progress

COUNTED = ("table", "column", "rows", "null", "empty", "plaintext", "primary", "older", "unknown", "nested")


@dataclass(frozen=True)
class Work:
    """An open database, the columns to work on, and the keys."""

    database: Database
    columns: tuple[EncryptedColumn, ...]
    keyring: Keyring


@contextmanager
def work(context: Context, *, read_only: bool) -> Iterator[Work]:
    """Everything that row work needs, the database closed afterwards.

    Raises:
        Refused: the application encrypts nothing, or in a form that is not ours to write.
    """
    columns = context.discover().fields
    if not columns:
        raise Refused(
            f"the application in {context.target.directory} encrypts no column",
            hint="Bring the code that encrypts, and its dependencies, before this step.",
        )
    refuse_foreign(columns)
    database = context.target.connect(read_only=read_only)
    try:
        yield Work(database, columns, context.target.keyring)
    finally:
        database.close()


def refuse_foreign(columns: Sequence[EncryptedColumn]) -> None:
    """Refuse columns whose tokens only the application itself can write."""
    foreign = [c for c in columns if c.form != "fernet" or c.derivation != "raw" or c.stored_as != "text"]
    if foreign:
        names = ", ".join(f"{c.table}.{c.column} ({c.package or c.field_class})" for c in foreign)
        raise Refused(
            f"these columns do not hold plain Fernet tokens under the given key: {names}",
            hint="Change the field to one that stores Fernet tokens as text, or leave it out of this deployment.",
        )


def shown(context: Context) -> Any:  # noqa: ANN401 - the row engine's own progress goes in, the step's comes out
    """A pulse for the row engine."""

    def pulse(progress: Any) -> None:  # noqa: ANN401
        context.pulse(Progress(progress.label, progress.done, progress.total, rate=progress.rate))

    return pulse


def counts(columns: Sequence[ColumnCount]) -> list[dict[str, Any]]:
    """Counts as evidence."""
    return [asdict(column) for column in columns]


def total(columns: Sequence[ColumnCount], field: str) -> int:
    """One class over all columns."""
    return sum(int(getattr(column, field)) for column in columns)
