"""What a PostgreSQL database holds, and what a restore of a copy would take away.

Sources: postgresql.org/docs/current: catalogs, protocol "COPY Operations", functions-info.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from deployguard.backup.base import COUNTING, Facts, Loss, Pulse, Table, Tally
from deployguard.backup.postgres_schema import COUNTERS, SCHEMA, SIZE, TABLES

Connection = psycopg.Connection[tuple[Any, ...]]

_KEY = """
SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indisprimary AND i.indrelid = %s::regclass ORDER BY array_position(i.indkey::int[], a.attnum::int)
"""
_COLUMNS = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
LARGE_OBJECTS = "large objects"
_FORMS = (
    "SET datestyle = ISO; SET intervalstyle = postgres; SET timezone = UTC;"
    " SET extra_float_digits = 1; SET bytea_output = hex"
)
_WHOLE = 2**256


def prepare(connection: Connection) -> None:
    """Let values have one text form, and let no row be hidden from us."""
    connection.execute(f"{_FORMS}; SET row_security = off; SET search_path = pg_catalog; SET statement_timeout = 0")


def facts_of(connection: Connection, key: bytes, pulse: Pulse, counters: dict[str, int] | None = None) -> Facts:
    """What the connection's transaction sees; its sequences stand where they do now, unless that is given."""
    counters = counters_of(connection) if counters is None else counters
    lines = sorted("\t".join(map(str, row)) for row in connection.execute(SCHEMA))
    tables, (total,) = {}, connection.execute(SIZE).fetchone() or (0,)
    tally = Tally(COUNTING, int(total), pulse)
    for schema, name in connection.execute(TABLES).fetchall():
        shown = name if schema == "public" else f"{schema}.{name}"
        query = sql.SQL("COPY (SELECT * FROM ONLY {}) TO STDOUT").format(sql.Identifier(schema, name))
        tables[shown] = _table(connection, query, key, tally)
    blobs = sql.Composed([sql.SQL("COPY (SELECT oid, sha256(lo_get(oid)) FROM pg_largeobject_metadata) TO STDOUT")])
    found = _table(connection, blobs, key, tally)
    tally.end()
    if found.rows:
        tables[LARGE_OBJECTS] = found
    return Facts(hashlib.sha256("\n".join(lines).encode()).hexdigest(), tables, counters=counters)


def counters_of(connection: Connection) -> dict[str, int]:
    """What the sequences have given away by now, whatever the transaction sees."""
    return {name: int(given) for name, given in connection.execute(COUNTERS)}


def _table(connection: Connection, query: sql.Composed, key: bytes, tally: Tally) -> Table:
    """Rows have no order of their own: their digests are added up, so none need be sorted."""
    total = count = size = 0
    keyed = hashlib.blake2b(digest_size=32, key=key[:64])
    with connection.cursor() as cursor, cursor.copy(query) as rows:
        for row in rows:
            # one message of the protocol is one row
            digest = keyed.copy()
            digest.update(row)
            total += int.from_bytes(digest.digest(), "big")
            count += 1
            size += len(row)
            if count % 10_000 == 0:
                total %= _WHOLE
                tally.add(size)
                size = 0
    tally.add(size)
    return Table(count, f"{total % _WHOLE:064x}")


def tables_of(connection: Connection) -> list[tuple[str, str]]:
    """Schema and name of every table that holds rows."""
    return list(connection.execute(TABLES).fetchall())


def loss_between(live: Connection, copy: Connection, pulse: Pulse) -> dict[str, Loss]:
    """What `live` has and `copy` has not, and the other way round, counted by the copy's server; only differences."""
    here, there = tables_of(live), tables_of(copy)
    found: dict[str, Loss] = {}
    for schema, name in sorted({*here, *there}):
        pulse(f"comparing {name}", 0, None)
        shown = name if schema == "public" else f"{schema}.{name}"
        if (schema, name) not in there:
            found[shown] = Loss(added=_count(live, schema, name))
        elif (schema, name) not in here:
            found[shown] = Loss(removed=_count(copy, schema, name))
        else:
            found[shown] = _loss(live, copy, schema, name)
    return {name: loss for name, loss in found.items() if loss}


def _count(connection: Connection, schema: str, name: str) -> int:
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
    return _number(connection.execute(query).fetchone())


def _loss(live: Connection, copy: Connection, schema: str, name: str) -> Loss:
    table = sql.Identifier(schema, name)
    regclass = table.as_string(copy)
    mine, theirs = ([c for (c,) in connection.execute(_COLUMNS, (regclass,)).fetchall()] for connection in (live, copy))
    key = [c for (c,) in copy.execute(_KEY, (regclass,)).fetchall()]
    shared = [c for c in theirs if c in mine]
    if not set(key) <= set(shared) or not key:
        key = shared
    select = sql.SQL("SELECT {k} AS k, {h} AS h FROM ONLY {t}").format(k=_hash(key), h=_hash(shared), t=table)
    copy.execute("DROP TABLE IF EXISTS pg_temp.live; CREATE TEMP TABLE live (k bigint, h bigint)")
    _pour(live, copy, select)
    if key == shared:
        return Loss(_except(copy, "live", select, first=True), 0, _except(copy, "live", select, first=False))
    counted = sql.SQL(
        "SELECT count(*) FILTER (WHERE b.k IS NULL), count(*) FILTER (WHERE a.h <> b.h),"
        " count(*) FILTER (WHERE a.k IS NULL)"
        " FROM pg_temp.live a FULL JOIN ({}) b ON a.k = b.k"
    ).format(select)
    added, changed, removed = copy.execute(counted).fetchone() or (0, 0, 0)
    return Loss(added, changed, removed)


def _hash(columns: Iterable[str]) -> sql.Composable:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("hashtextextended(ROW({})::text, 0)").format(names)


def _pour(live: Connection, copy: Connection, select: sql.Composable) -> None:
    out, into = sql.SQL("COPY ({}) TO STDOUT").format(select), sql.SQL("COPY pg_temp.live FROM STDIN")
    with live.cursor() as reader, copy.cursor() as writer, reader.copy(out) as rows, writer.copy(into) as sink:
        for row in rows:
            sink.write(row)


def _except(copy: Connection, table: str, select: sql.Composable, *, first: bool) -> int:
    mine = sql.SQL("SELECT k, h FROM pg_temp.{}").format(sql.Identifier(table))
    left, right = (mine, select) if first else (select, mine)
    query = sql.SQL("SELECT count(*) FROM (({}) EXCEPT ALL ({})) x").format(left, right)
    return _number(copy.execute(query).fetchone())


def _number(row: tuple[Any, ...] | None) -> int:
    return int(row[0]) if row else 0
