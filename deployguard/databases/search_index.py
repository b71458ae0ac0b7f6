"""Full-text indexes: copies of a text, taken apart into words, that no column shows.

Sources: sqlite.org/fts5.html: "Full-text Query Syntax", "External Content and Contentless Tables", "The
%_config table"; mariadb.com/kb, "Full-Text Index Overview"; dev.mysql.com/doc, "InnoDB Full-Text Indexes".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deployguard.databases.base import Database
from deployguard.databases.measure import literal, quoted

# the tables that each FTS5 table keeps its words in
_SHADOWS = ("config", "content", "data", "docsize", "idx")


@dataclass(frozen=True)
class SearchTable:
    """An FTS5 table of SQLite."""

    name: str
    columns: tuple[str, ...]

    @property
    def shadows(self) -> frozenset[str]:
        """Names of the tables behind it."""
        return frozenset(f"{self.name}_{part}" for part in _SHADOWS)


def search_tables(database: Database, engine: str, tables: Sequence[str]) -> list[SearchTable]:
    """The FTS5 tables among some tables."""
    if engine != "sqlite":
        return []
    found = []
    for table in tables:
        is_one = f"name = {literal(engine, table)} AND sql LIKE 'CREATE VIRTUAL TABLE%USING%fts5%'"
        if database.number(f"SELECT count(*) FROM sqlite_schema WHERE {is_one}"):
            # every one has two hidden columns more: its own name, and rank
            columns = tuple(c for c in database.shape(table).columns if c not in {table, "rank"})
            found.append(SearchTable(table, columns))
    return found


def holds(database: Database, table: SearchTable, column: str, text: str) -> bool:
    """Whether a column of an index has the words of a text, in order. No server is there to log the question."""
    phrase = f"{quoted('sqlite', column)} : {quoted('sqlite', text)}"
    name = quoted("sqlite", table.name)
    query = f"SELECT count(*) FROM (SELECT 1 FROM {name} WHERE {name} MATCH {literal('sqlite', phrase)} LIMIT 1)"
    return database.number(query) > 0


def has_full_text_index(database: Database, engine: str, table: str, column: str) -> bool:
    """Whether MariaDB or MySQL keeps the words of a column, which stay until OPTIMIZE TABLE."""
    if engine not in {"mariadb", "mysql"}:
        return False
    return (
        database.number(
            "SELECT count(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND"
            f" table_name = {literal(engine, table)} AND column_name = {literal(engine, column)}"
            " AND index_type = 'FULLTEXT'"
        )
        > 0
    )
