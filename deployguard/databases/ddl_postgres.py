"""What PostgreSQL locks, and when it writes a table anew.

Sources: postgresql.org/docs/current: sql-altertable "Notes", explicit-locking "Table-Level Locks",
sql-createindex "Building Indexes Concurrently".
"""

import re
from collections.abc import Iterator

from deployguard.databases.ddl import NAME, Columns, Effect, Work, actions_of, bare, matched

_MOMENTS = (
    "ADD COLUMN", "DROP COLUMN", "RENAME", "DROP CONSTRAINT", "SET SCHEMA", "OWNER TO", "VALIDATE CONSTRAINT",
    "ENABLE", "DISABLE", "ATTACH", "DETACH", "SET (", "RESET (", "ALTER CONSTRAINT", "REPLICA IDENTITY", "CLUSTER ON",
)  # fmt: skip
_SPELLINGS = {
    "character varying": "varchar", "character": "char", "int4": "integer", "int": "integer", "int8": "bigint",
    "int2": "smallint", "bool": "boolean", "decimal": "numeric",
    "timestamptz": "timestamp with time zone",
}  # fmt: skip
_HARMLESS = (
    "SET CONSTRAINTS",
    "COMMENT ON",
    "CREATE TABLE",
    "CREATE SEQUENCE",
    "ALTER SEQUENCE",
    "SELECT",
    "SET ",
    "GRANT ",
)


def effects(statement: str, columns: Columns) -> Iterator[Effect]:
    """What a statement does, table by table."""
    if alter := matched(rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?({NAME}) (.*)", statement):
        for action in actions_of(alter[2]):
            yield from _altered(bare(alter[1]), action, columns)
    elif index := matched(
        rf"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?(?:{NAME} )?ON (?:ONLY )?({NAME})", statement
    ):
        yield Effect(bare(index[3]), "gets an index", "index", "nobody" if index[2] else "writers")
    elif drop := matched(rf"DROP TABLE (?:IF EXISTS )?({NAME})", statement):
        yield Effect(bare(drop[1]), "is dropped", "moment", "everybody")
    elif index := matched(rf"DROP INDEX (CONCURRENTLY )?(?:IF EXISTS )?({NAME})", statement):
        yield Effect("", f"the index {bare(index[2])} is dropped", "moment", "nobody" if index[1] else "everybody")
    elif rows := matched(rf"(?:UPDATE|DELETE FROM) (?:ONLY )?({NAME})", statement):
        yield Effect(bare(rows[1]), "has its rows changed", "rows", "writers")
    elif not statement.upper().startswith(_HARMLESS):
        yield Effect("", f"{' '.join(statement.split()[:3])} …", "unknown", "everybody")


def _altered(table: str, action: str, columns: Columns) -> Iterator[Effect]:
    if typed := matched(
        rf"ALTER (?:COLUMN )?({NAME}) (?:SET DATA )?TYPE (.*?)(?: COLLATE (\S+))?(?: USING (.*))?$", action
    ):
        yield _typed(table, bare(typed[1]), typed[2], typed[4] or "", columns)
    elif column := matched(rf"ALTER (?:COLUMN )?({NAME}) SET NOT NULL", action):
        yield Effect(table, f"has every {bare(column[1])} looked at for NULL", "read", "everybody")
    elif column := matched(rf"ALTER (?:COLUMN )?({NAME})", action):
        yield Effect(table, f"has {bare(column[1])} declared otherwise", "moment", "everybody")
    elif matched("ADD COLUMN", action):
        yield from _added(table, action)
    elif matched(rf"ADD (?:CONSTRAINT {NAME} )?", action) and not matched(r"ADD \w+ \w+$", action):
        yield from _constrained(table, action)
    elif action.upper().startswith(_MOMENTS):
        yield Effect(table, f"{action.split(None, 2)[0].lower()}s a name or a part", "moment", "everybody")
    else:
        yield Effect(table, f"{' '.join(action.split()[:3])} …", "unknown", "everybody")


def _typed(table: str, column: str, new: str, using: str, columns: Columns) -> Effect:
    old = columns.types.get((table, column), "")
    plain = using in {"", f'"{column}"::{new}', f"{column}::{new}"}
    same = plain and _same_bytes(_type(old), _type(new))
    does = f"has {column} changed from {old or 'its type'} to {new}"
    return Effect(table, does, "moment" if same else "rewrite", "everybody")


def _type(declared: str) -> tuple[str, tuple[int, ...]]:
    """A type's name and its numbers: varchar(20) is ("varchar", (20,))."""
    found = re.fullmatch(r"\s*([a-z0-9_ ]+?)\s*(?:\(([\d,\s]+)\))?\s*", declared, re.IGNORECASE)
    if found is None:
        return declared, ()
    name = found[1].lower()
    return _SPELLINGS.get(name, name), tuple(int(n) for n in (found[2] or "").split(",") if n.strip())


def _same_bytes(old: tuple[str, tuple[int, ...]], new: tuple[str, tuple[int, ...]]) -> bool:
    """Whether every value stays as it is stored, so that nothing is rewritten."""
    (was, before), (becomes, after) = old, new
    if old == new or (was in {"varchar", "text"} and becomes == "text") or (was, becomes) == ("cidr", "inet"):
        return True
    if was == becomes == "varchar":
        return not after or (bool(before) and after[0] >= before[0])
    if was == becomes == "numeric":
        return not after or (len(before) == len(after) == 2 and after[0] >= before[0] and after[1] == before[1])  # noqa: PLR2004
    return False


def _added(table: str, action: str) -> Iterator[Effect]:
    upper = action.upper()
    computed = " STORED" in upper or "IDENTITY" in upper or matched(r".*\b(?:big|small)?serial\b", action) is not None
    default = matched(r".* DEFAULT (.*?)(?: NOT NULL| NULL| CONSTRAINT| UNIQUE| CHECK| REFERENCES|$)", action)
    called = default is not None and "(" in re.sub(r"'(?:[^']|'')*'", "", default[1])
    if computed or called:
        yield Effect(table, "gets a column with a value of its own in each row", "rewrite", "everybody")
    else:
        yield Effect(table, "gets a column", "moment", "everybody")
    if " UNIQUE" in upper or " PRIMARY KEY" in upper:
        yield Effect(table, "gets a unique index", "index", "everybody")
    if other := matched(rf".* REFERENCES ({NAME})", action):
        # the column is new, so there is nothing to look up
        yield Effect(bare(other[1]), "is referred to", "moment", "writers")


def _constrained(table: str, action: str) -> Iterator[Effect]:
    upper = action.upper()
    work: Work = "moment" if "NOT VALID" in upper or "USING INDEX" in upper else "read"
    if other := matched(rf".* REFERENCES ({NAME})", action):
        yield Effect(table, "has every row looked up for a foreign key", work, "writers")
        yield Effect(bare(other[1]), "is referred to", work, "writers")
    elif " CHECK" in upper:
        yield Effect(table, "has every row checked", work, "everybody")
    elif " UNIQUE" in upper or " PRIMARY KEY" in upper or " EXCLUDE" in upper:
        yield Effect(table, "gets a unique index", "moment" if work == "moment" else "index", "everybody")
    else:
        yield Effect(table, f"{' '.join(action.split()[:3])} …", "unknown", "everybody")
