"""What goes on in a database beside us: each figure is one query that changes nothing.

Sources: postgresql.org/docs/current, "The Cumulative Statistics System" (pg_stat_activity,
pg_stat_replication), pg_locks, pg_prepared_xacts; mariadb.com/kb, "Information Schema
INNODB_TRX Table"; dev.mysql.com/doc, "The INFORMATION_SCHEMA INNODB_TRX Table".
"""

from collections.abc import Mapping
from typing import Literal

from deployguard.databases.base import Database
from deployguard.databases.measure import literal
from deployguard.errors import DeployguardError

Figure = Literal["oldest_transaction", "waiting", "replica_lag", "connections_left", "hidden"]

_CLOCK = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mariadb": "SELECT unix_timestamp(sysdate(6))",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
}
# of the server, not of our session, which is in UTC
_ZONE = {
    "postgresql": """
        SELECT extract(epoch FROM (now() AT TIME ZONE reset_val) - (now() AT TIME ZONE 'UTC'))
        FROM pg_settings WHERE name = 'TimeZone'""",
    **dict.fromkeys(
        ("mariadb", "mysql"),
        "SELECT timestampdiff(SECOND, utc_timestamp(), convert_tz(utc_timestamp(), '+00:00', @@global.time_zone))",
    ),
}
_POSTGRES: dict[Figure, str] = {
    "oldest_transaction": """
        SELECT coalesce(max(extract(epoch FROM clock_timestamp() - begun)), 0) FROM (
            SELECT xact_start AS begun FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
            UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()
        ) AS transactions""",
    "waiting": """
        SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database() AND application_name <> 'deployguard'""",
    "replica_lag": "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) FROM pg_stat_replication",
    "connections_left": """
        SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS NULL""",
    "hidden": """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND query = '<insufficient privilege>'""",
}
_INNODB: dict[Figure, str] = {
    "oldest_transaction": """
        SELECT coalesce(max(timestampdiff(SECOND, trx_started, sysdate())), 0)
        FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> connection_id()""",
    "waiting": """
        SELECT (SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT')
            + (SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for%lock%')""",
}
_FIGURES: dict[str, dict[Figure, str]] = {
    "postgresql": _POSTGRES,
    "mariadb": {
        **_INNODB,
        "connections_left": """
            SELECT @@max_connections - variable_value FROM information_schema.global_status
            WHERE variable_name = 'THREADS_CONNECTED'""",
    },
    "mysql": {
        **_INNODB,
        "connections_left": """
            SELECT @@max_connections - variable_value FROM performance_schema.global_status
            WHERE variable_name = 'Threads_connected'""",
    },
}


def clock_of(database: Database) -> float | None:
    """The server's clock, in seconds since 1970; None where there is no server, and so no clock of its own."""
    query = _CLOCK.get(database.identity().engine)
    return database.number(query) if query else None


def zone_of(database: Database) -> float | None:
    """How far the server's own time zone is ahead of UTC now, in seconds; None where there is no server."""
    query = _ZONE.get(database.identity().engine)
    return database.number(query) if query else None


def knows_zone(database: Database, name: str) -> bool:
    """Whether the server can reckon with a time zone by its name; MariaDB and MySQL know none until they are told."""
    engine = database.identity().engine
    if engine not in {"mariadb", "mysql"}:
        return True
    known = f"SELECT CONVERT_TZ('2000-01-01 00:00:00', 'UTC', {literal(engine, name)}) IS NOT NULL"
    return bool(database.number(known))


def figures(database: Database) -> Mapping[Figure, float | None]:
    """What the product can tell, by name; None for what this user may not see. Empty where there is no server.

    `oldest_transaction` and `replica_lag` are seconds; `waiting` sessions want a lock that another
    has; `hidden` sessions are not told about to this user. Only PostgreSQL's primary knows how far
    its replicas are behind.
    """
    return {name: _asked(database, query) for name, query in _FIGURES.get(database.identity().engine, {}).items()}


def _asked(database: Database, query: str) -> float | None:
    try:
        return database.number(query)
    except DeployguardError:
        return None
