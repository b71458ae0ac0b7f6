"""What a statement that changes a schema does to whoever uses the table meanwhile. Pure: the catalog is given.

Each product has a file of its own that says which of its statements rewrite a table, read it,
build an index or take a moment, and who waits for as long as that lasts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Work = Literal["moment", "read", "index", "rewrite", "rows", "unknown"]
"""How long it takes: a moment; as long as reading the table, building an index, writing the table
anew or changing its rows takes; or nobody can tell."""
Waits = Literal["nobody", "writers", "everybody"]


@dataclass(frozen=True)
class Effect:
    """What one statement does to one table.

    Attributes:
        table: "" where the statement does not name it.
        does: in words, as the rest of a sentence that begins with the table.
    """

    table: str
    does: str
    work: Work
    waits: Waits


@dataclass(frozen=True)
class Columns:
    """What is known of the columns as they are now.

    Attributes:
        types: as the catalog writes them, by table and column.
        octets: the most bytes that a value may have, where that is limited.
        nullable: whether a value may be missing.
    """

    types: Mapping[tuple[str, str], str]
    octets: Mapping[tuple[str, str], int]
    nullable: Mapping[tuple[str, str], bool]


@dataclass(frozen=True)
class Script:
    """A migration as SQL.

    Attributes:
        whole: whether all of it is one transaction, so that a lock that is taken is kept to the end.
        python: whether a part of it is code that cannot be written as SQL.
    """

    statements: tuple[str, ...]
    whole: bool
    python: bool


_PART = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|''|\\.)*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\$(\w*)\$.*?\$\1\$|[();,]|[^-/'\"`$();,]+|.",
    re.DOTALL,
)
_NO_SQL = "CANNOT BE WRITTEN AS SQL"
_FRAME = {"BEGIN", "COMMIT", "START TRANSACTION"}


def script_of(text: str) -> Script:
    """What `manage.py sqlmigrate` wrote, statement by statement, without comments."""
    found: list[str] = []
    current = ""
    for part in _PART.finditer(text):
        if part[0].startswith(("--", "/*")):
            current += " "
        elif part[0] == ";":
            found.append(" ".join(current.split()))
            current = ""
        else:
            current += part[0]
    statements = [each for each in [*found, " ".join(current.split())] if each]
    return Script(tuple(s for s in statements if s.upper() not in _FRAME), statements[:1] == ["BEGIN"], _NO_SQL in text)


def actions_of(text: str) -> Iterator[str]:
    """The parts of a list that commas outside parentheses and quotation marks divide."""
    depth, current = 0, ""
    for part in _PART.finditer(text):
        depth += (part[0] == "(") - (part[0] == ")")
        if part[0] == "," and depth == 0:
            yield current.strip()
            current = ""
        else:
            current += part[0]
    yield current.strip()


NAME = r"(?:\"(?:[^\"]|\"\")+\"|`(?:[^`]|``)+`|\w+)"
"""An identifier, with quotation marks or without."""


def bare(name: str) -> str:
    """An identifier without its quotation marks."""
    mark = name[:1]
    return name[1:-1].replace(mark * 2, mark) if mark in {'"', "`"} else name


def matched(pattern: str, text: str) -> re.Match[str] | None:
    """The beginning of a statement, whatever case its words are in; a space stands for any white space."""
    return re.match(pattern.replace(" ", r"\s+"), text, re.IGNORECASE)
