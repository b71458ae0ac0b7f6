"""Who holds a lock on a table at this moment: a migration would wait for them, and everybody else behind it.

Sources: postgresql.org/docs/current/view-pg-locks.html; mariadb.com/kb and dev.mysql.com/doc, "Performance Schema
metadata_locks Table".
"""

from dataclasses import dataclass

from deployguard.databases.base import Database
from deployguard.databases.measure import literal
from deployguard.errors import DeployguardError


@dataclass(frozen=True)
class Held:
    """Other sessions that hold a lock on a table.

    Attributes:
        seconds: age of the oldest transaction among them; None where the product does not tell.
    """

    sessions: int
    seconds: float | None


_SESSIONS = {
    "postgresql": """
        SELECT count(DISTINCT pid) FROM pg_locks
        WHERE relation = to_regclass(quote_ident({table})) AND granted AND pid <> pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
    **dict.fromkeys(
        ("mariadb", "mysql"),
        """
        SELECT count(DISTINCT owner_thread_id) FROM performance_schema.metadata_locks
        JOIN performance_schema.threads ON thread_id = owner_thread_id
        WHERE object_type = 'TABLE' AND object_schema = DATABASE() AND object_name = {table}
        AND lock_status = 'GRANTED' AND processlist_id <> CONNECTION_ID()""",
    ),
}
_AGE = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)
    FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE relation = to_regclass(quote_ident({table})) AND granted AND pid <> pg_backend_pid()"""
# without this instrument the table of locks is there, and empty
_SEES = {
    **dict.fromkeys(
        ("mariadb", "mysql"),
        "SELECT count(*) FROM performance_schema.setup_instruments"
        " WHERE name = 'wait/lock/metadata/sql/mdl' AND enabled = 'YES'",
    ),
}


def held(database: Database, engine: str, table: str) -> Held | None:
    """Who holds a lock on a table now; None where the product, or this user, cannot tell."""
    query = _SESSIONS.get(engine)
    if query is None:
        return None
    try:
        if engine in _SEES and not database.number(_SEES[engine]):
            return None
        sessions = int(database.number(query.format(table=literal(engine, table))))
        age = database.number(_AGE.format(table=literal(engine, table))) if engine == "postgresql" else None
    except DeployguardError:
        return None
    return Held(sessions, age)
