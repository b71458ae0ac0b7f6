"""What InnoDB locks in MariaDB and MySQL, and when it copies a table.

A copy lets others read and nobody write. Changes in place let both go on, but for a moment at both ends.

Sources: mariadb.com/kb, "InnoDB Online DDL Operations with the INPLACE Alter Algorithm", "… with the INSTANT
Alter Algorithm"; dev.mysql.com/doc/refman/8.4/en, "Online DDL Operations". Tried with MariaDB 10.11
(tests/databases/test_ddl.py); where MySQL differs, the slower is taken.
"""

from collections.abc import Iterator

from deployguard.databases.ddl import NAME, Columns, Effect, actions_of, bare, matched

_SHORT, _HALF = 255, 127
"""Bytes: up to 255 a length is kept in one byte; MariaDB makes room for the second in advance from 127 down."""
_PER_CHARACTER = 4
_HARMLESS = ("CREATE TABLE", "SELECT", "SET ", "GRANT ", "CREATE VIEW")
_INSTANT = (
    "DROP COLUMN",
    "RENAME COLUMN",
    "ALTER COLUMN",
    "DROP CONSTRAINT",
    "DROP INDEX",
    "DROP KEY",
    "DROP FOREIGN KEY",
    "DROP CHECK",
    "COMMENT",
)


def effects(statement: str, columns: Columns) -> Iterator[Effect]:
    """What a statement does, table by table."""
    if alter := matched(rf"ALTER TABLE ({NAME}) (.*)", statement):
        for action in actions_of(alter[2]):
            yield from _altered(bare(alter[1]), action, columns)
    elif index := matched(rf"CREATE (UNIQUE |FULLTEXT |SPATIAL )?INDEX {NAME} ON ({NAME})", statement):
        full = (index[1] or "").strip().upper() in {"FULLTEXT", "SPATIAL"}
        yield Effect(bare(index[2]), "gets an index", "index", "writers" if full else "nobody")
    elif index := matched(rf"DROP INDEX ({NAME}) ON ({NAME})", statement):
        yield Effect(bare(index[2]), "loses an index", "moment", "everybody")
    elif table := matched(rf"DROP TABLE (?:IF EXISTS )?({NAME})", statement):
        yield Effect(bare(table[1]), "is dropped", "moment", "everybody")
    elif table := matched(rf"RENAME TABLE ({NAME})", statement):
        yield Effect(bare(table[1]), "is renamed", "moment", "everybody")
    elif rows := matched(rf"(?:UPDATE|DELETE FROM) ({NAME})", statement):
        yield Effect(bare(rows[1]), "has its rows changed", "rows", "writers")
    elif not statement.upper().startswith(_HARMLESS):
        yield Effect("", f"{' '.join(statement.split()[:3])} …", "unknown", "everybody")


def _altered(table: str, action: str, columns: Columns) -> Iterator[Effect]:
    if typed := matched(rf"MODIFY (?:COLUMN )?({NAME}) (.*)", action):
        yield _typed(table, bare(typed[1]), typed[2], columns)
    elif matched("ADD COLUMN", action):
        stored = " STORED" in action.upper() or " PERSISTENT" in action.upper()
        yield Effect(table, "gets a column", "rewrite" if stored else "moment", "writers" if stored else "everybody")
    elif other := matched(rf"ADD (?:CONSTRAINT {NAME} )?FOREIGN KEY .* REFERENCES ({NAME})", action):
        yield Effect(table, "is copied for a foreign key", "rewrite", "writers")
        yield Effect(bare(other[1]), "is referred to", "moment", "everybody")
    elif matched(rf"ADD (?:CONSTRAINT {NAME} )?CHECK", action):
        yield Effect(table, "is copied for a condition", "rewrite", "writers")
    elif matched(rf"ADD (?:CONSTRAINT {NAME} )?(?:UNIQUE|INDEX|KEY)", action):
        yield Effect(table, "gets an index", "index", "nobody")
    elif matched("ADD (?:FULLTEXT|SPATIAL)", action):
        yield Effect(table, "gets an index", "index", "writers")
    elif matched("RENAME (?:TO )?", action) or action.upper().startswith(_INSTANT):
        yield Effect(table, "has a part renamed, dropped or declared otherwise", "moment", "everybody")
    else:
        yield Effect(table, f"{' '.join(action.split()[:3])} …", "unknown", "everybody")


def _typed(table: str, column: str, declared: str, columns: Columns) -> Effect:
    typed = matched(r"(.*?)(?: NOT NULL| NULL| DEFAULT| AUTO_INCREMENT| UNIQUE|$)", declared)
    old, new = columns.types.get((table, column), ""), typed[1].strip() if typed else declared
    does = f"has {column} changed from {old or 'its type'} to {new}"
    if not _grows_in_place(columns, table, column, new):
        return Effect(table, f"{does}: it is copied", "rewrite", "writers")
    if columns.nullable.get((table, column)) != (" NOT NULL" not in declared.upper()):
        return Effect(table, f"{does}, or may be NULL or no longer", "rewrite", "nobody")
    return Effect(table, does, "moment", "everybody")


def _grows_in_place(columns: Columns, table: str, column: str, new: str) -> bool:
    """Whether values stay as they are stored: in the same type, or in a wider varchar that keeps its length alike."""
    old = columns.types.get((table, column), "").lower()
    width, wider = matched(r"varchar\((\d+)\)$", old), matched(r"varchar\((\d+)\)$", new.lower())
    if width is None or wider is None:
        return old == new.lower()
    before = columns.octets.get((table, column), int(width[1]) * _PER_CHARACTER)
    after = int(wider[1]) * (before // int(width[1]) or 1)
    return after >= before and (after <= _SHORT or before > _SHORT or before <= _HALF)
