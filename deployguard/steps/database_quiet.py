"""`database.quiet`: nothing goes on in the database that the change would wait for, or that would suffer from it."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import ClassVar

from pydantic import Field

from deployguard.databases import connect
from deployguard.databases.pressure import Figure, figures
from deployguard.errors import DeployguardError
from deployguard.runbook.quantities import Duration, spell
from deployguard.steps.base import Check, Context, Outcome, Target
from deployguard.steps.encryption import opened

_SEE = {
    "postgresql": "SELECT pid, usename, application_name, state, xact_start FROM pg_stat_activity ORDER BY xact_start",
    "mariadb": "SELECT * FROM information_schema.innodb_trx ORDER BY trx_started",
    "mysql": "SELECT * FROM information_schema.innodb_trx ORDER BY trx_started",
}
_GRANT = {
    "postgresql": "GRANT pg_read_all_stats TO",
    "mariadb": "GRANT PROCESS ON *.* TO",
    "mysql": "GRANT PROCESS ON *.* TO",
}
_CATCH_UP = "Wait until it has caught up, or take load off it."
Problem = tuple[str, str, str]


class DatabaseQuiet(Check):
    """Check for long transactions, sessions that wait for locks, replicas that lag, and too few connections.

    A migration waits for the oldest transaction on its table, and everybody else waits behind
    it. A database that is a file has no sessions to ask about. A primary of PostgreSQL knows how far its
    replicas are behind; MariaDB and MySQL know it only on the replica itself: name those under the
    environment's `replicas:`, and they are asked.
    """

    uses: ClassVar[str] = "database.quiet"
    example: ClassVar[str] = "- uses: database.quiet\n  with: { transactions: 1m, connections: 10 }"

    transactions: Duration = Field(60.0, gt=0)
    """Age of the oldest transaction of anybody else, prepared ones included."""
    waiting: int = Field(0, ge=0)
    """Sessions that may wait for a lock."""
    lag: Duration = Field(30.0, gt=0)
    """How far the slowest replica may be behind."""
    connections: int = Field(5, ge=0)
    """Connections that must be left for ordinary users."""

    def execute(self, context: Context) -> Outcome:
        """Ask for each figure once."""
        with opened(context, read_only=True) as database:
            engine, found = database.identity().engine, figures(database)
        behind = [*self._replicas(context.target)]
        if not found and not behind:
            return Outcome("the database is a file on this machine: there are no sessions to ask about")
        problems = [*self._pressure(found, engine), *behind, *_unseen(found, engine)]
        status = max((s for s, _, _ in problems), key=("pass", "warn", "fail").index, default="pass")
        summary = "; ".join(what for _, what, _ in problems) or _calm(found)
        hint = " ".join(dict.fromkeys(fix for _, _, fix in problems))
        return Outcome(summary, status, hint, {"figures": dict(found)})

    def _replicas(self, target: Target) -> Iterator[Problem]:
        for number, url in enumerate(target.replicas, 1):
            try:
                with closing(connect(url, base=target.project, read_only=True)) as replica:
                    lag = replica.lag()
            except DeployguardError as error:
                yield "fail", f"replica {number} cannot be asked: {error.message}", error.hint
                continue
            if lag is None:
                yield "fail", f"replica {number} replicates nothing", "Start it, or take it out of replicas:."
            elif lag > self.lag:
                yield "fail", f"replica {number} is {spell(lag)} behind", _CATCH_UP

    def _pressure(self, found: Mapping[Figure, float | None], engine: str) -> Iterator[Problem]:
        if (age := found.get("oldest_transaction") or 0) > self.transactions:
            fix = f"Wait for it or end it: {_SEE[engine]}."
            yield "fail", f"a transaction has been open for {spell(age)}", fix
        if (waiting := found.get("waiting") or 0) > self.waiting:
            yield "fail", f"{waiting:.0f} sessions wait for a lock", f"Find who holds it: {_SEE[engine]}."
        if (lag := found.get("replica_lag") or 0) > self.lag:
            yield "fail", f"a replica is {spell(lag)} behind", _CATCH_UP
        left = found.get("connections_left")
        if left is not None and left < self.connections:
            fix = "Close idle sessions, or raise max_connections."
            yield "fail", f"{left:.0f} connections are left, {self.connections} are wanted", fix


def _unseen(found: Mapping[Figure, float | None], engine: str) -> Iterator[Problem]:
    blind = [name.replace("_", " ") for name, value in found.items() if value is None]
    fix = f"Let this user see them: {_GRANT[engine]} …"
    if blind:
        yield "warn", f"this user may not see: {', '.join(blind)}", fix
    if hidden := found.get("hidden"):
        yield "warn", f"{hidden:.0f} sessions of other users cannot be seen", fix


def _calm(found: Mapping[Figure, float | None]) -> str:
    age, left = found.get("oldest_transaction") or 0.0, found.get("connections_left") or 0.0
    return f"oldest transaction {spell(age)}, nobody waits for a lock, {left:.0f} connections left"
