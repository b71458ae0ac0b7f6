"""Columns named in SQL text. A text is searched for words; SQL itself is not parsed."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from deployguard.source.base import Column, Use
from deployguard.source.files import source_files

_VERB = re.compile(r"\b(select|insert|update|delete|where|order\s+by|group\s+by|join|create|alter)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def text_of(node: ast.Constant | ast.JoinedStr) -> str:
    """The text that stands in a string, an f-string's fixed parts included."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return " ".join(
        part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def mentioned(text: str, column: Column, *, own_table: bool = False) -> bool:
    """Whether SQL names a column, and its table too unless it is known to be about that table."""
    text = _COMMENT.sub(" ", text)
    word = column.column or column.field
    table = own_table or (bool(column.table) and bool(_word(column.table).search(text)) and bool(_VERB.search(text)))
    return table and bool(_word(word).search(text))


@lru_cache(maxsize=1024)
def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", re.IGNORECASE)


def in_sql_files(directory: Path, columns: Sequence[Column]) -> Iterator[Use]:
    """Mentions in the application's .sql files, statement by statement."""
    for path in source_files(directory, ".sql"):
        text = path.read_text("utf-8", errors="replace")
        line = 1
        for statement in text.split(";"):
            for column in columns:
                if mentioned(statement, column) and (found := _word(column.column or column.field).search(statement)):
                    at = line + statement.count("\n", 0, found.start())
                    yield Use(path.relative_to(directory).as_posix(), at, "names in SQL", column.name)
            line += statement.count("\n")
