"""Which rows of a table: by default all of them; for a trial, some."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deployguard.databases.base import Condition
from deployguard.errors import Refused
from deployguard.rows.tables import Work

_FORM = re.compile(
    r"\s*(?P<table>\S+)\.(?P<column>[^\s.<>=!]+)\s*(?P<operator><=|>=|!=|=|<|>)\s*"
    r"(?:'(?P<text>(?:[^']|'')*)'|(?P<number>-?\d+)|(?P<word>[^\s'<>=!]+))\s*"
)


@dataclass(frozen=True)
class Only:
    """A part of the rows.

    Attributes:
        limit: rows to change at most, in each table.
        where: tables and what must hold in them for columns of the primary key. Where any
            is given, the tables that are not named are left alone.
    """

    limit: int | None = None
    where: tuple[tuple[str, Condition], ...] = ()

    def of(self, works: Sequence[Work]) -> list[Work]:
        """The tables that are meant, each with its conditions.

        Raises:
            Refused: a condition names another table, or a column that is not in its primary key.
        """
        keys = {work.table.name: work.table.key for work in works}
        for table, condition in self.where:
            if table not in keys:
                raise Refused(
                    f"where: {table} has no encrypted column", hint=f"Tables that have: {', '.join(keys) or 'none'}."
                )
            if condition.column not in keys[table]:
                raise Refused(
                    f"where: {table}.{condition.column} is not in the primary key",
                    hint=f"Only the primary key can be asked about: {', '.join(keys[table])}.",
                )
        named = {table for table, _ in self.where} or keys.keys()
        return [self._within(work) for work in works if work.table.name in named]

    def _within(self, work: Work) -> Work:
        conditions = tuple(condition for table, condition in self.where if table == work.table.name)
        return replace(work, table=replace(work.table, where=conditions))


def only(limit: int | None, where: Sequence[str]) -> Only:
    """What a person wrote: `web_profile.id <= 1000`, each for itself; all must hold.

    Raises:
        Refused: it cannot be read.
    """
    return Only(limit, tuple(_condition(text) for text in where))


def _condition(text: str) -> tuple[str, Condition]:
    match = _FORM.fullmatch(text)
    if match is None:
        raise Refused(
            f"where: {text!r} cannot be read",
            hint="Write TABLE.COLUMN, one of < <= > >= = !=, and a value, for example: web_profile.id <= 1000",
        )
    value = int(match["number"]) if match["number"] else match["word"] or match["text"].replace("''", "'")
    return match["table"], Condition(match["column"], match["operator"], value)  # type: ignore[arg-type]  # as the form has it
