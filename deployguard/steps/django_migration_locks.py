"""`django.migration_locks`: whom a migration keeps waiting, and for about how long."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from pydantic import Field

from deployguard.databases.base import Database
from deployguard.databases.ddl import script_of
from deployguard.databases.ddl_cost import Cost, cost_of
from deployguard.databases.held import held
from deployguard.errors import StepFailed
from deployguard.runbook.quantities import Duration, spell
from deployguard.steps.base import JSON, Check, Context, Outcome, show
from deployguard.steps.encryption import opened
from deployguard.steps.manage import asked

_PLANNED = re.compile(r"^(\w+)\.(\w+)$")
_ABSENT = ("Cannot find a migration matching", "No installed app with label", "does not have migrations")
_NOTED = 0.5
"""Seconds of waiting that are worth a number."""
_SHOWN = 6


class DjangoMigrationLocks(Check):
    """Read the SQL of the migrations that are to come, and say which tables they lock, for whom and for how long.

    A change of a moment, such as a wider varchar on PostgreSQL, is told from one that writes the
    table anew; how long that takes is estimated from the table's size. Where a migration is one
    transaction, what it has locked stays locked to its end. Sessions that hold one of these tables
    now are counted too: the migration would wait for them, and everybody else behind it.

    A step `rehearse` on a copy of the real data measures what this can only estimate.
    """

    uses: ClassVar[str] = "django.migration_locks"
    example: ClassVar[str] = (
        '- id: locks\n  uses: django.migration_locks\n  with: { app: web, to: "0063", at_most: 10s }'
    )

    app: str
    to: str
    """Name of the migration or its number."""
    at_most: Duration = Field(5.0, gt=0)
    """How long anybody may be kept waiting by one migration."""
    on_excess: Literal["fail", "warn"] = "fail"
    """What it means that one takes longer, or that others hold one of its tables now."""
    held_for: Duration = 5.0
    """Age of a transaction from which on it counts as holding a table."""

    def execute(self, context: Context) -> Outcome:
        """Ask Django for the plan and its SQL, and the database for sizes and locks.

        Raises:
            StepFailed: Django does not say what it would do.
        """
        # opened first: Django's SQLite would make the file that is not there
        with opened(context, read_only=True) as database:
            planned = self._planned(context)
            if planned is None:
                return Outcome(
                    f"{self.app} {self.to} comes with code that is not there yet", "warn",
                    "Let this check run as a step, after the code and its packages have come.",
                )  # fmt: skip
            seen = [_look(context, database, name) for name in planned]
            busy = list(self._busy(database, seen))
        return self._outcome(seen, busy)

    def _planned(self, context: Context) -> list[str] | None:
        """The migrations that would be applied, those that it depends on too; None where it is not known."""
        plan = asked(context, "migrate", self.app, self.to, "--plan")
        if plan.exit == 0:
            return [line for line in plan.lines if _PLANNED.match(line)]
        if any(sign in line for sign in _ABSENT for line in plan.lines):
            return None
        shown = show(context.target.application.manage_command("migrate", self.app, self.to, "--plan"))
        raise StepFailed(
            f"manage.py migrate {self.app} {self.to} --plan failed (exit status {plan.exit}): {plan.last()}",
            hint=f"Run '{shown}' to see all it says.", command_exit=plan.exit,
        )  # fmt: skip

    def _busy(self, database: Database, seen: Sequence["_Migration"]) -> Iterator[str]:
        engine = database.identity().engine
        for table in dict.fromkeys(table for migration in seen for table in migration.cost.waits):
            now = held(database, engine, table)
            if now is not None and now.sessions and (now.seconds is None or now.seconds >= self.held_for):
                since = f", the oldest for {spell(now.seconds)}" if now.seconds is not None else ""
                yield f"{table} is held by {now.sessions} sessions now{since}"

    def _outcome(self, seen: Sequence["_Migration"], busy: Sequence[str]) -> Outcome:
        long = any(seconds > self.at_most for m in seen for seconds in m.cost.waits.values())
        unknown = any(m.cost.unknown or m.unwritten for m in seen)
        told = [m.told(self.at_most) for m in seen]
        more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
        hints = [
            *(["Wait for these sessions or end them; 'database.quiet' says how to find them."] if busy else []),
            *(["Migrate in a window, or in smaller parts; 'rehearse' measures it on a copy."] if long else []),
            *(["Look by hand at what it does: nobody can tell how long that takes."] if unknown else []),
        ]
        return Outcome(
            "; ".join([*busy, *told[:_SHOWN], *more]) or "no migration is to come",
            self.on_excess if long or busy else "warn" if unknown else "pass",
            " ".join(hints), {"migrations": [m.as_json() for m in seen], "held": list(busy)},
        )  # fmt: skip


@dataclass(frozen=True)
class _Migration:
    """One migration that is to come.

    Attributes:
        unwritten: why Django could not write it as SQL; "" where it could.
    """

    name: str
    cost: Cost
    unwritten: str = ""

    def told(self, at_most: float) -> str:
        """In one sentence."""
        waits = self.cost.waits
        shown = {t: s for t, s in waits.items() if s > at_most} or {t: s for t, s in waits.items() if s > _NOTED}
        parts = [self._waiting(table, seconds) for table, seconds in shown.items()]
        if rest := len(waits) - len(shown):
            parts.append("one table is locked for a moment" if rest == 1 else f"{rest} tables are locked for a moment")
        parts += [*self.cost.unknown, *([self.unwritten] if self.unwritten else [])]
        return f"{self.name}: {', '.join(parts) or 'nobody waits'}"

    def _waiting(self, table: str, seconds: float) -> str:
        size = self.cost.sizes.get(table)
        shown = f" ({size / 2**20:,.0f} MiB)" if size is not None else ""
        kept = "read or written" if table in self.cost.unreadable else "written"
        return f"{table}{shown} cannot be {kept} for about {spell(seconds)}"

    def as_json(self) -> JSON:
        """For the report."""
        effects = [{**asdict(effect), "seconds": round(seconds, 2)} for effect, seconds in self.cost.effects]
        return {
            "name": self.name, "waits": {table: round(seconds, 2) for table, seconds in self.cost.waits.items()},
            "unknown": [*self.cost.unknown, *([self.unwritten] if self.unwritten else [])], "effects": effects,
        }  # fmt: skip


def _look(context: Context, database: Database, name: str) -> _Migration:
    said = asked(context, "sqlmigrate", *name.split("."))
    if said.exit == 0:
        return _Migration(name, cost_of(database, script_of(said.out)))
    # some names can only be looked up once the migrations before it are applied
    return _Migration(name, cost_of(database, script_of("")), f"Django cannot write it as SQL yet ({said.last()})")
