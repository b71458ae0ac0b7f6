"""What PostgreSQL keeps of former values.

Sources: postgresql.org/docs/current: sql-vacuum, storage-file-layout, wal-configuration, continuous-archiving.
"""

from collections.abc import Callable
from pathlib import Path

from deployguard.databases.postgres_swap import name
from deployguard.databases.residue import SNAPSHOTS, Echo, Place, readable
from deployguard.databases.server import Ask

_ALL_OF = """
    WITH whole AS (SELECT t.oid, t.reltoastrelid FROM pg_class t WHERE t.oid = to_regclass(quote_ident(%s)))
    SELECT pg_relation_filepath(c.oid) FROM pg_class c
    WHERE c.oid IN (
        SELECT oid FROM whole UNION SELECT reltoastrelid FROM whole
        UNION SELECT indexrelid FROM pg_index i JOIN whole ON i.indrelid IN (whole.oid, whole.reltoastrelid)
    ) AND pg_relation_filepath(c.oid) IS NOT NULL
"""


class PostgresResidue:
    """Dead rows, and the write-ahead log."""

    def __init__(self, ask: Ask, command: Ask, folder: Callable[[], Path | None]) -> None:
        self._ask, self._command, self._folder = ask, command, folder

    def notice(self, table: str) -> str:
        """VACUUM FULL takes an ACCESS EXCLUSIVE lock."""
        size = self._ask("SELECT pg_size_pretty(pg_total_relation_size(to_regclass(quote_ident(%s))))", (table,))[0][0]
        return f"{table} ({size}) is locked for reading and writing until it is written anew (VACUUM FULL)"

    def room(self, table: str) -> int:
        """A second copy of the table and its indexes."""
        return int(self._ask("SELECT pg_total_relation_size(to_regclass(quote_ident(%s)))", (table,))[0][0] or 0)

    def flush(self, tables: list[str]) -> None:  # noqa: ARG002 - it is everybody's
        """A checkpoint writes what is in memory."""
        if self._ask("SELECT pg_has_role(current_user, 'pg_checkpoint', 'usage')")[0][0]:
            self._command("CHECKPOINT")

    def rewrite(self, table: str) -> None:
        """Write the table, its indexes and its TOAST table anew."""
        self._command(f"VACUUM (FULL, ANALYZE) {name(table)}")

    def settle(self) -> None:
        """Have the former files removed, and a new segment of the log begun, as far as this user may."""
        allowed = "has_function_privilege('pg_switch_wal()', 'execute')"
        if self._ask(f"SELECT {allowed}")[0][0]:
            self._ask("SELECT pg_switch_wal()")
        self.flush([])

    def places(self, tables: list[str]) -> list[Place]:
        """Files of the tables, and the log's."""
        folder = self._folder()
        if folder is None:
            why = "the server does not tell this user where its files are"
            return [Place(f"the table {t}", (), why) for t in tables] + [_LOG_UNSEEN]
        found = []
        for table in tables:
            files = [str(path) for (path,) in self._ask(_ALL_OF, (table,))]
            patterns = tuple(p for file in files for p in (file, f"{file}.*"))
            found.append(readable(f"the table {table}", folder, patterns, cleaned=True))
        return [*found, readable("the write-ahead log", folder, ("pg_wal/0*",), cleaned=False)]

    def echoes(self) -> list[Echo]:
        """The log, where it goes, and who copies it."""
        settings = dict(
            self._ask("SELECT name, setting FROM pg_settings WHERE name IN ('archive_mode', 'wal_keep_size')")
        )
        found = [
            Echo(
                "segments of the write-ahead log (pg_wal), also recycled ones",
                "they are written over by later changes",
                "They go with the next max_wal_size of changes; wal_recycle = off removes them at the next checkpoint.",
            )
        ]  # fmt: skip
        if settings.get("archive_mode") not in {None, "off"}:
            found.append(
                Echo("archived segments of the write-ahead log", "", "Expire archives from before this change.")
            )
        slots = [str(slot) for (slot,) in self._ask("SELECT slot_name FROM pg_replication_slots")]
        if slots:
            found.append(
                Echo(f"segments that the replication slots {', '.join(slots)} hold back", "they have been consumed", "")
            )
        replicas = int(self._ask("SELECT count(*) FROM pg_stat_replication")[0][0])
        if replicas:
            found.append(
                Echo(f"the write-ahead logs of {replicas} replicas", "they are written over by later changes", "")
            )
        return [*found, SNAPSHOTS]


_LOG_UNSEEN = Place("the write-ahead log", (), "the server does not tell this user where its files are", cleaned=False)
