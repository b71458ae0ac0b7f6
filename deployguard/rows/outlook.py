"""What a rewrite will mean for the database and for others: room, log, locks, triggers. Estimates; nothing is changed.

Sources: postgresql.org/docs/current: storage-page-layout, wal-configuration (full_page_writes);
mariadb.com/kb: "Binary Log Formats" (row images); sqlite.org/wal.html.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployguard.databases.base import Database
from deployguard.databases.measure import bytes_of
from deployguard.errors import DeployguardError
from deployguard.rows.target import ColumnCount, EncryptedColumn

_STEPS_BACK = (
    "; while others write, work on a large table steps back for them and takes about {times} times as long"
    " (others_first: false: as fast as it goes)"
)
_BATCH = "the rows of a batch are locked until it is committed; reading goes on"
_LOCKS = {
    "sqlite": "all writers of the file wait for each batch; reading goes on in WAL mode only",
    **dict.fromkeys(("postgresql", "mariadb", "mysql"), _BATCH),
}
_LOG = {"postgresql": "WAL", "sqlite": "journal or WAL", "mariadb": "binary log", "mysql": "binary log"}


@dataclass(frozen=True)
class Outlook:
    """What rewriting one table will mean.

    Attributes:
        rows: that change, at most.
        bytes: of the table with its indexes now; None where the product does not tell.
        more: bytes that the values grow by.
        indexes: bytes of these that an index holds once more.
        room: bytes that the table may take until old rows are cleaned away; None likewise.
        log: bytes that are written to the log that replicas and backups read, about; None where there is none.
        log_name: what that log is called.
        locks: what others will notice.
        triggers: that fire for each row.
    """

    table: str
    rows: int
    bytes: int | None
    more: int
    indexes: int
    room: int | None
    log: int | None
    log_name: str
    locks: str
    triggers: tuple[str, ...]


def outlook(database: Database, counted: Sequence[ColumnCount]) -> tuple[Outlook, ...]:
    """Of each table, by its counts."""
    engine = database.identity().engine
    logs = _keeps_log(database, engine)
    return tuple(_of_table(database, engine, list(found), logs=logs) for found in _by_table(counted))


def window(columns: Sequence[EncryptedColumn]) -> tuple[str, ...]:
    """Columns whose plaintext the new code cannot read: until every row is done, the application must not run."""
    return tuple(c.place for c in columns if not c.reads_plaintext)


def _by_table(counted: Sequence[ColumnCount]) -> Iterator[list[ColumnCount]]:
    for table in dict.fromkeys(c.table for c in counted):
        yield [c for c in counted if c.table == table]


def _of_table(database: Database, engine: str, counted: list[ColumnCount], *, logs: bool) -> Outlook:
    table = counted[0].table
    shape, size = database.shape(table), bytes_of(database, engine, table)
    rows, there = max(c.plaintext for c in counted), max(c.rows for c in counted)
    more = sum(c.bytes_after - c.bytes for c in counted)
    indexed = shape.indexed | shape.unique
    again = sum(c.bytes_after - c.bytes for c in counted if c.column in indexed)
    # of the table as it is, the part that is written anew
    anew = int((size or 0) * rows / max(there, 1))
    return Outlook(
        table=table, rows=rows, bytes=size, more=more, indexes=again,
        room=None if size is None else _room(engine, size, anew, more, again),
        # each row before and after (MariaDB), or each new row and once each whole page (PostgreSQL)
        log=2 * anew + more if logs and size is not None else None,
        log_name=_LOG[engine], locks=_LOCKS[engine] + _STEPS_BACK.format(times=database.gentle.times),
        triggers=shape.triggers,
    )  # fmt: skip


def _room(engine: str, size: int, anew: int, more: int, again: int) -> int:
    # pages split where values come in no order, and half of each may stay empty
    if engine in {"mariadb", "mysql"}:
        return 2 * (size + more + again)
    # old rows stay beside the new ones until they are cleaned away
    return size + anew + more + 2 * again


def _keeps_log(database: Database, engine: str) -> bool:
    if engine not in {"mariadb", "mysql"}:
        return True
    try:
        return bool(database.number("SELECT @@log_bin"))
    except DeployguardError:
        return True  # this user may not know: rather too much room than too little
