"""What a SQLite database holds: schema, rows and a digest of every table, and where two of them differ."""

import hashlib
import hmac
import sqlite3

from deployguard.backup.base import COUNTING, Facts, Loss, Pulse, Table, Tally
from deployguard.errors import StepFailed

_ROWS = 2000
"""Read at a time."""
_DATA_DEFECTS = (b"NULL value in ", b"CHECK constraint failed in ")
"""Rows that break a rule declared after they were written: a copy has them too."""


def facts_of(connection: sqlite3.Connection, key: bytes, pulse: Pulse) -> Facts:
    """What the database holds. The connection's `text_factory` must be `bytearray`.

    Raises:
        StepFailed: the file is damaged inside.
    """
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2, 3").fetchall()
    pragmas = [connection.execute(f"PRAGMA {p}").fetchone() for p in ("encoding", "user_version", "application_id")]
    (size,) = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    tally = Tally(COUNTING, size, pulse)
    tables = {name: _table(connection, name, key, tally) for name in tables_of(connection)}
    tally.end()
    return Facts(hashlib.sha256(repr((schema, pragmas)).encode()).hexdigest(), tables, tuple(_sound(connection, pulse)))


def tables_of(connection: sqlite3.Connection, database: str = "main") -> list[str]:
    """Names of the tables that have pages of their own: views and virtual tables have none."""
    found = connection.execute(
        f"SELECT name FROM {database}.sqlite_schema WHERE type = 'table' AND rootpage <> 0 ORDER BY name"  # noqa: S608
    )
    return [bytes(name).decode("utf-8", "backslashreplace") for (name,) in found]


def _table(connection: sqlite3.Connection, name: str, key: bytes, tally: Tally) -> Table:
    mac, count = hmac.new(key, name.encode(), hashlib.sha256), 0
    cursor = connection.execute(_ordered(connection, name))
    while rows := cursor.fetchmany(_ROWS):
        # `repr` is exact for every type that SQLite has, and one line to a row
        text = "\n".join(map(repr, rows)).encode() + b"\n"
        mac.update(text)
        tally.add(len(text))
        count += len(rows)
    return Table(count, mac.hexdigest())


def _ordered(connection: sqlite3.Connection, name: str) -> str:
    """All rows in the order they are stored in, with the row number where there is one."""
    columns, key = _columns(connection, name)
    listed = ", ".join(map(identifier, columns))
    rowid = _rowid(connection, name, columns)
    if rowid:
        return f"SELECT {rowid}, {listed} FROM {identifier(name)} ORDER BY 1"  # noqa: S608
    order = ", ".join(map(identifier, key))
    return f"SELECT {listed} FROM {identifier(name)} ORDER BY {order}"  # noqa: S608


def _columns(connection: sqlite3.Connection, name: str, database: str = "main") -> tuple[list[str], list[str]]:
    """Columns that can be read, and those of the primary key in order."""
    info = connection.execute(f"PRAGMA {database}.table_xinfo({identifier(name)})").fetchall()
    columns = [bytes(column[1]).decode() for column in info]
    key = [bytes(column[1]).decode() for column in sorted(info, key=lambda c: int(c[5])) if column[5]]
    return columns, key


def _rowid(connection: sqlite3.Connection, name: str, columns: list[str]) -> str | None:
    """A name of the row number that no column hides; None for tables without one."""
    taken = {column.lower() for column in columns}
    free = next((word for word in ("rowid", "_rowid_", "oid") if word not in taken), None)
    if free is None:
        return None
    try:
        connection.execute(f"SELECT {free} FROM {identifier(name)} LIMIT 0")  # noqa: S608
    except sqlite3.OperationalError:
        return None
    return free


def _sound(connection: sqlite3.Connection, pulse: Pulse) -> list[str]:
    pulse("checking the structure", 0, None)
    found = [bytes(line) for (line,) in connection.execute("PRAGMA integrity_check")]
    bad = [line for line in found if line != b"ok" and not line.startswith(_DATA_DEFECTS)]
    if bad:
        raise StepFailed(
            f"the database is damaged inside: integrity_check finds {len(bad)} things",
            hint="Nothing good comes of a copy of it. Look with 'PRAGMA integrity_check'; restore an earlier backup.",
        )
    orphans = len(connection.execute("PRAGMA foreign_key_check").fetchall())
    defects = len(found) - found.count(b"ok")
    notes = [f"{defects} rows break a declared rule"] if defects else []
    return [*notes, f"{orphans} foreign keys point nowhere"] if orphans else notes


def loss_between(connection: sqlite3.Connection) -> dict[str, Loss]:
    """What is in `main` and not in `backup`, and the other way round, by table; only where there is any."""
    here, there = tables_of(connection), tables_of(connection, "backup")
    found = {name: _loss(connection, name, both=name in there) for name in here}
    found |= {name: Loss(removed=_count(connection, "backup", name)) for name in there if name not in here}
    return {name: loss for name, loss in found.items() if loss}


def _loss(connection: sqlite3.Connection, name: str, *, both: bool) -> Loss:
    if not both:
        return Loss(added=_count(connection, "main", name))
    mine, key = _columns(connection, name)
    theirs, _ = _columns(connection, name, "backup")
    rowid = _rowid(connection, name, mine)
    names = [rowid] if rowid and not key else [identifier(k) for k in key]
    same = " AND ".join(f"a.{k} IS b.{k}" for k in names)
    shared = [identifier(c) for c in mine if c in theirs]
    exact = ", ".join(f"typeof({{0}}.{c}), CAST({{0}}.{c} AS BLOB)" for c in shared)
    tables = f"main.{identifier(name)} AS a, backup.{identifier(name)} AS b"
    kept = _number(connection, f"SELECT count(*) FROM {tables} WHERE {same}")  # noqa: S608
    differ = f"({exact.format('a')}) IS NOT ({exact.format('b')})"
    changed = _number(connection, f"SELECT count(*) FROM {tables} WHERE {same} AND {differ}") if shared else kept  # noqa: S608
    return Loss(_count(connection, "main", name) - kept, changed, _count(connection, "backup", name) - kept)


def _count(connection: sqlite3.Connection, database: str, name: str) -> int:
    return _number(connection, f"SELECT count(*) FROM {database}.{identifier(name)}")  # noqa: S608


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def identifier(name: str) -> str:
    """A name, quoted."""
    return '"' + name.replace('"', '""') + '"'
