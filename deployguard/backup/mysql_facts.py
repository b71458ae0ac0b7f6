"""What a MariaDB or MySQL database holds, and what a restore of a copy would take away.

Sources: mariadb.com/kb: information-schema-tables, show-create-table, select "SSCursor".
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import pymysql
import pymysql.cursors

from deployguard.backup.base import COUNTING, Facts, Loss, Pulse, Table, Tally
from deployguard.errors import Refused

Connection = "pymysql.Connection[Any]"
_ROWS = 1000
_SIZE = "SELECT ifnull(sum(data_length), 0) FROM information_schema.tables WHERE table_schema = %s"
_WHOLE = 2**256
_COUNTER = re.compile(rb" AUTO_INCREMENT=\d+")
_BESIDES = """
SELECT 'view', table_name, view_definition, concat(definer, security_type, is_updatable)
FROM information_schema.views WHERE table_schema = %(s)s
UNION ALL
SELECT 'routine', concat(routine_type, ' ', routine_name), routine_definition,
       concat(definer, security_type, sql_data_access, is_deterministic, ifnull(dtd_identifier, ''))
FROM information_schema.routines WHERE routine_schema = %(s)s
UNION ALL
SELECT 'parameter', concat(specific_name, ' ', ordinal_position), concat(ifnull(parameter_mode, ''), parameter_name),
       dtd_identifier
FROM information_schema.parameters WHERE specific_schema = %(s)s AND parameter_name IS NOT NULL
UNION ALL
SELECT 'trigger', concat(event_object_table, ' ', trigger_name), action_statement,
       concat(action_timing, event_manipulation, action_order, definer)
FROM information_schema.triggers WHERE trigger_schema = %(s)s
"""


def ask(connection: Any, query: str, values: Any = None) -> list[tuple[Any, ...]]:  # noqa: ANN401
    """All rows, each value as the bytes that the server sent."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def name(identifier: str) -> str:
    """A name, quoted, in SQL that has no placeholders."""
    return "`" + identifier.replace("`", "``") + "`"


def tables_of(connection: Any, schema: str, kind: str = "BASE TABLE") -> list[str]:  # noqa: ANN401
    """Names of the tables."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = %s ORDER BY 1"
    return [bytes(row[0]).decode() for row in ask(connection, query, (schema, kind))]


def columns_of(connection: Any, schema: str, table: str) -> dict[str, str]:  # noqa: ANN401
    """Columns in order, with their data types."""
    query = (
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
    )
    return {bytes(c).decode(): bytes(t).decode().lower() for c, t in ask(connection, query, (schema, table))}


def facts_of(
    connection: Any,  # noqa: ANN401
    schema: str,
    key: bytes,
    pulse: Pulse,
    counters: dict[str, int] | None = None,
) -> Facts:
    """What the connection's transaction sees; its sequences stand where they do now, unless that is given."""
    counters = counters_of(connection, schema) if counters is None else counters
    declared = besides(connection, schema)
    tables = {}
    for kind in ("BASE TABLE", "SEQUENCE"):
        for table in tables_of(connection, schema, kind):
            (row,) = ask(connection, f"SHOW CREATE TABLE {name(schema)}.{name(table)}")
            # what the counter stands at is no part of any transaction
            declared.append(_COUNTER.sub(b"", bytes(row[1])))
    tally = Tally(COUNTING, _number(connection, _SIZE, (schema,)), pulse)
    for table in tables_of(connection, schema):
        tables[table] = _table(connection, schema, table, key, tally)
    tally.end()
    return Facts(hashlib.sha256(b"\n".join(sorted(declared))).hexdigest(), tables, counters=counters)


def counters_of(connection: Any, schema: str) -> dict[str, int]:  # noqa: ANN401
    """What the sequences have given away or keep in hand by now, in steps."""
    steps = "if(cycle_option, 0, (next_not_cached_value - start_value) DIV increment)"
    return {
        sequence: int(ask(connection, f"SELECT {steps} FROM {name(schema)}.{name(sequence)}")[0][0])  # noqa: S608
        for sequence in tables_of(connection, schema, "SEQUENCE")
    }


def besides(connection: Any, schema: str) -> list[bytes]:  # noqa: ANN401
    """Views, routines and triggers, whatever the database is called."""
    own = name(schema).encode() + b"."
    rows = ask(connection, _BESIDES, {"s": schema})
    return sorted(b"\t".join(v or b"" for v in row).replace(own, b"") for row in rows)


def _table(connection: Any, schema: str, table: str, key: bytes, tally: Tally) -> Table:  # noqa: ANN401
    """Rows have no order of their own: their digests are added up, so none need be sorted."""
    total = count = 0
    keyed = hashlib.blake2b(digest_size=32, key=key[:64])
    columns = ", ".join(_exact(c, kind) for c, kind in columns_of(connection, schema, table).items())
    with connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute(f"SELECT {columns} FROM {name(schema)}.{name(table)}")  # noqa: S608
        # a row of the protocol is exact as it is; to take it apart takes four times as long
        cursor._result._read_row_from_packet = _whole  # noqa: SLF001
        while rows := cursor.fetchmany(_ROWS):
            for row in rows:
                digest = keyed.copy()
                digest.update(row)
                total += int.from_bytes(digest.digest(), "big")
            count += len(rows)
            total %= _WHOLE
            tally.add(sum(map(len, rows)))
    return Table(count, f"{total:064x}")


def _whole(packet: Any) -> bytes:  # noqa: ANN401
    data: bytes = packet.get_all_data()
    return data


def _exact(column: str, kind: str) -> str:
    # a FLOAT is shown with six digits, and holds more
    return f"{name(column)} + 0e0" if kind == "float" else name(column)


def refuse_undumpable(connection: Any, schema: str) -> None:  # noqa: ANN401
    """Refuse what the product's dump program would change or miss without a word.

    Raises:
        Refused: tables that no transaction covers, or FLOAT values that it writes with too few digits.
    """
    query = (
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = %s AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' ORDER BY 1"
    )
    foreign = [bytes(row[0]).decode() for row in ask(connection, query, (schema,))]
    if foreign:
        raise Refused(
            f"tables that no transaction covers: {', '.join(foreign)}",
            hint="A dump beside live writers would mix their states. Run 'ALTER TABLE … ENGINE=InnoDB' for each.",
        )
    for table in tables_of(connection, schema):
        for column, kind in columns_of(connection, schema, table).items():
            if kind == "float":
                _refuse_short(connection, schema, table, column)


def _refuse_short(connection: Any, schema: str, table: str, column: str) -> None:  # noqa: ANN401
    query = (
        f"SELECT count(*) FROM {name(schema)}.{name(table)}"  # noqa: S608
        f" WHERE {name(column)} + 0e0 <> CAST(concat({name(column)}) AS FLOAT) + 0e0"
    )
    count = int(ask(connection, query)[0][0])
    if count:
        raise Refused(
            f"{table}.{column} is a FLOAT, and the dump program would round {count:,} of its values to six digits",
            hint="A backup that changes values is none. Make the column a DOUBLE.",
        )


def loss_between(connection: Any, live: str, copy: str) -> dict[str, Loss]:  # noqa: ANN401
    """What `live` has and `copy` has not, and the other way round, by table; only where there is any."""
    here, there = tables_of(connection, live), tables_of(connection, copy)
    found = {}
    for table in sorted({*here, *there}):
        if table not in there:
            found[table] = Loss(added=_number(connection, f"SELECT count(*) FROM {name(live)}.{name(table)}"))  # noqa: S608
        elif table not in here:
            found[table] = Loss(removed=_number(connection, f"SELECT count(*) FROM {name(copy)}.{name(table)}"))  # noqa: S608
        else:
            found[table] = _loss(connection, live, copy, table)
    return {table: loss for table, loss in found.items() if loss}


def _loss(connection: Any, live: str, copy: str, table: str) -> Loss:  # noqa: ANN401
    theirs, mine = columns_of(connection, copy, table), columns_of(connection, live, table)
    shared = [c for c in theirs if c in mine]
    query = (
        "SELECT column_name FROM information_schema.key_column_usage WHERE table_schema = %s AND table_name = %s"
        " AND constraint_name = 'PRIMARY' ORDER BY ordinal_position"
    )
    key = [bytes(row[0]).decode() for row in ask(connection, query, (copy, table))]
    if not key or not set(key) <= set(shared):
        key = shared
    rows = " UNION ALL ".join(
        f"SELECT {_hash(key)} AS k, {_hash(shared)} AS h, {side} AS side FROM {name(schema)}.{name(table)}"  # noqa: S608
        for schema, side in ((live, 1), (copy, -1))
    )
    per_row = f"SELECT k, sum(side) AS n, count(DISTINCT h) AS versions FROM ({rows}) r GROUP BY k"  # noqa: S608
    counted = (
        "ifnull(sum(if(n > 0, n, 0)), 0), ifnull(sum(n = 0 AND versions > 1), 0), ifnull(sum(if(n < 0, -n, 0)), 0)"
    )
    (row,) = ask(connection, f"SELECT {counted} FROM ({per_row}) c")  # noqa: S608
    return Loss(*map(int, row))


def _hash(columns: Iterable[str]) -> str:
    return f"md5(concat_ws(',', {', '.join(f'ifnull(hex({name(c)}), 0x6e)' for c in columns)}))"


def _number(connection: Any, query: str, values: Any = None) -> int:  # noqa: ANN401
    return int(ask(connection, query, values)[0][0])
