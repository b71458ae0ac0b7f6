"""What InnoDB keeps of former values.

Sources: mariadb.com/kb: optimize-table, innodb-redo-log, binary-log; dev.mysql.com/doc/refman/8.4/en/innodb-undo-logs.
"""

from collections.abc import Callable
from pathlib import Path

from deployguard.databases.mysql_swap import name
from deployguard.databases.residue import SNAPSHOTS, Echo, Place, readable
from deployguard.databases.server import Ask
from deployguard.errors import ConnectionLost, Refused, StepFailed


class MysqlResidue:
    """Free pages, undo, redo and binary logs."""

    def __init__(self, ask: Ask, command: Ask, folder: Callable[[], Path]) -> None:
        self._ask, self._command, self._folder = ask, command, folder

    def notice(self, table: str) -> str:
        """OPTIMIZE makes the table anew, online but for a moment at both ends."""
        size = self.room(table) >> 20
        return f"{table} ({size} MiB) is written anew (OPTIMIZE TABLE): others go on, and wait for a moment at its end"

    def room(self, table: str) -> int:
        """A second copy of the table."""
        found = self._ask(
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            (table,),
        )
        return int(found[0][0] or 0) if found else 0

    def flush(self, tables: list[str]) -> None:
        """InnoDB writes its pages when it likes to; what makes it holds writers for that moment."""
        try:
            self._ask(f"FLUSH TABLES {', '.join(map(name, tables))} FOR EXPORT")
        except Refused:
            # it takes the rights to reload and to lock; without them the files are as old as the last checkpoint
            return
        self._ask("UNLOCK TABLES")

    def rewrite(self, table: str) -> None:
        """Write the table and its indexes anew."""
        # what goes wrong is a row of the answer, not an error
        answers = self._command(f"OPTIMIZE TABLE {name(table)}")
        wrong = " ".join(str(text) for _, _, kind, text in answers if str(kind).lower() == "error")
        if "lock wait timeout" in wrong.lower():
            raise ConnectionLost(
                f"{table}: somebody held a lock for too long", hint="Wait for the longest transaction, then try again."
            )
        if wrong:
            raise StepFailed(
                f"{table} could not be written anew",
                hint="Is the disk full, or the table locked? Look at the server's log.",
            )

    def settle(self) -> None:
        """What InnoDB purges, it purges by itself."""

    def places(self, tables: list[str]) -> list[Place]:
        """Files of the tables, and what the server writes beside them."""
        data, found = self._folder(), []
        schema, alone = self._ask("SELECT DATABASE(), @@innodb_file_per_table")[0]
        for table in tables if alone else ():
            file = f"{_file(schema)}/{_file(table)}"
            found.append(readable(f"the table {table}", data, (f"{file}.ibd", f"{file}#*.ibd"), cleaned=True))
        shared = ("ibdata*", "undo*", "#innodb_undo/*", "*.ibu")
        found.append(readable("the shared tablespace and undo logs", data, shared, cleaned=False))
        found.append(readable("the redo log", data, ("ib_logfile*", "#innodb_redo/*"), cleaned=False))
        return found

    def echoes(self) -> list[Echo]:
        """Logs that are kept by time or written over."""
        found = [
            Echo("the redo log", "it is written over by later changes", ""),
            Echo("undo logs and the doublewrite buffer", "they are purged and written over", ""),
        ]
        logged, days = self._ask("SELECT @@log_bin, @@expire_logs_days")[0]
        if logged:
            until = f"{days:g} days have passed (expire_logs_days)" if days else ""
            fix = "Purge them once no replica needs them: PURGE BINARY LOGS."
            found.append(Echo("the binary logs, and the relay logs of replicas", until, fix))
        return [*found, SNAPSHOTS]


def _file(identifier: str) -> str:
    """A name as the file system has it: anything but letters, digits and _ as @ and four hexadecimal digits."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else f"@{ord(c):04x}" for c in identifier)
