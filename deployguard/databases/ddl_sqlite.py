"""What SQLite locks: the file, for as long as the transaction lasts. Nobody else writes meanwhile.

Django makes a table anew for most changes of a column, and copies its rows into it.

Sources: sqlite.org/lang_altertable.html, /lockingv3.html.
"""

from collections.abc import Iterator

from deployguard.databases.ddl import NAME, Columns, Effect, bare, matched

_HARMLESS = ("CREATE TABLE", "PRAGMA", "SELECT", "SAVEPOINT", "RELEASE")


def effects(statement: str, columns: Columns) -> Iterator[Effect]:  # noqa: ARG001 - every product is asked alike
    """What a statement does, table by table."""
    if copy := matched(rf"INSERT INTO ({NAME}) .* SELECT .* FROM ({NAME})", statement):
        yield Effect(bare(copy[2]), "is copied into a table of the new shape", "rewrite", "writers")
    elif index := matched(rf"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?{NAME} ON ({NAME})", statement):
        name = bare(index[1])
        yield Effect(name.removeprefix("new__"), "gets an index", "index", "writers")
    elif table := matched(rf"(?:ALTER|DROP) TABLE (?:IF EXISTS )?({NAME})", statement):
        name = bare(table[1])
        yield Effect(
            name.removeprefix("new__"), "is dropped, renamed or changed in its declaration", "moment", "writers"
        )
    elif index := matched(rf"DROP INDEX (?:IF EXISTS )?({NAME})", statement):
        yield Effect("", f"the index {bare(index[1])} is dropped", "moment", "writers")
    elif rows := matched(rf"(?:UPDATE|DELETE FROM) ({NAME})", statement):
        yield Effect(bare(rows[1]), "has its rows changed", "rows", "writers")
    elif not statement.upper().startswith(_HARMLESS):
        yield Effect("", f"{' '.join(statement.split()[:3])} …", "unknown", "writers")
