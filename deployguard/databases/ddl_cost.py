"""A migration as SQL → who waits for which table, and for about how long, on the product that is there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployguard.databases import ddl_mysql, ddl_postgres, ddl_sqlite
from deployguard.databases.base import Database
from deployguard.databases.ddl import Columns, Effect, Script, Work
from deployguard.databases.measure import bytes_of, literal
from deployguard.errors import DeployguardError

MOMENT = 0.05
"""Seconds that a statement takes in any case."""
_EFFECTS = {
    "postgresql": ddl_postgres.effects, "sqlite": ddl_sqlite.effects,
    "mariadb": ddl_mysql.effects, "mysql": ddl_mysql.effects,
}  # fmt: skip
_INNODB: dict[Work, float] = {"read": 100, "index": 80, "rewrite": 15, "rows": 8}
# MiB a second, about half of what 2 cores did with tables of 200 MiB in memory; a slow disk makes it longer
_RATES: dict[str, dict[Work, float]] = {
    "postgresql": {"read": 500, "index": 100, "rewrite": 50, "rows": 15},
    "mariadb": _INNODB,
    "mysql": _INNODB,
    "sqlite": {"read": 200, "index": 200, "rewrite": 40, "rows": 20},
}


@dataclass(frozen=True)
class Cost:
    """What one migration does to whoever uses the database meanwhile.

    Attributes:
        effects: of its statements in order, each with about how many seconds it takes.
        waits: by table, seconds that writers, and maybe readers, wait for it.
        unreadable: tables that readers wait for too.
        sizes: bytes of the tables; None where the product does not tell.
        unknown: parts that nobody can tell the time of.
    """

    effects: tuple[tuple[Effect, float], ...]
    waits: Mapping[str, float]
    unreadable: frozenset[str]
    sizes: Mapping[str, int | None]
    unknown: tuple[str, ...]


def cost_of(database: Database, script: Script) -> Cost:
    """Ask the catalog for the tables' columns and sizes, and add up. Changes nothing."""
    engine = database.identity().engine
    effects_of = _EFFECTS[engine]
    nothing = Columns({}, {}, {})
    tables = {e.table for s in script.statements for e in effects_of(s, nothing) if e.table}
    columns = _columns(database, engine, tables)
    effects = [e for s in script.statements for e in effects_of(s, columns)]
    there = {table for table, _ in columns.types}
    sizes = {table: bytes_of(database, engine, table) for table in sorted(there)}
    # on SQLite the file is locked, by whatever the application does with transactions
    return _added_up(effects, sizes, engine, script, whole=script.whole or engine == "sqlite")


def _added_up(
    effects: Iterable[Effect], sizes: Mapping[str, int | None], engine: str, script: Script, *, whole: bool
) -> Cost:
    timed: list[tuple[Effect, float]] = []
    waits: dict[str, float] = {}
    unreadable: set[str] = set()
    unknown = ["it runs Python code"] if script.python else []
    for effect in effects:
        seconds = MOMENT + (sizes.get(effect.table) or 0) / 2**20 / _RATES[engine].get(effect.work, float("inf"))
        timed.append((effect, seconds))
        if effect.work == "unknown":
            unknown.append(f"{effect.table} {effect.does}".strip())
        mine = effect.table if effect.waits != "nobody" else ""
        if mine:
            waits.setdefault(mine, 0.0)
        if mine and effect.waits == "everybody":
            unreadable.add(mine)
        # in one transaction, what was locked before stays locked for this too
        for table in waits if whole else [mine] if mine else []:
            waits[table] += seconds
    return Cost(tuple(timed), waits, frozenset(unreadable), sizes, tuple(unknown))


def _columns(database: Database, engine: str, tables: set[str]) -> Columns:
    types: dict[tuple[str, str], str] = {}
    octets: dict[tuple[str, str], int] = {}
    nullable: dict[tuple[str, str], bool] = {}
    for table in sorted(tables):
        try:
            shape = database.shape(table)
        except DeployguardError:
            continue  # an earlier migration, or this one, makes it
        for name, column in shape.columns.items():
            types[table, name], nullable[table, name] = column.type, column.nullable
            if column.width is not None and engine in {"mariadb", "mysql"}:
                octets[table, name] = _octets(database, engine, table, name)
    return Columns(types, octets, nullable)


def _octets(database: Database, engine: str, table: str, column: str) -> int:
    where = f"table_name = {literal(engine, table)} AND column_name = {literal(engine, column)}"
    query = f"SELECT character_octet_length FROM information_schema.columns WHERE table_schema = DATABASE() AND {where}"
    return int(database.number(query))
