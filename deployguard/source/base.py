"""What is looked for in an application's source, and what is found."""

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Column:
    """A column by both of its names.

    Attributes:
        model: "app.Model" of the class that declares the field.
        table, column: in the database, for SQL; "" where they are not known.
    """

    model: str
    field: str
    table: str = ""
    column: str = ""

    @property
    def name(self) -> str:
        """As Django writes it: app.Model.field."""
        return f"{self.model}.{self.field}"


@dataclass(frozen=True, order=True)
class Use:
    """One place that stops working, or changes its meaning, once the column holds tokens.

    Attributes:
        file: from the working copy.
        does: a verb phrase: "filters on", "orders by" …
        sure: False where the source does not say which model is meant, and only the names fit.
    """

    file: str
    line: int
    does: str
    column: str
    sure: bool = True


@dataclass(frozen=True)
class Module:
    """A source file that was parsed."""

    path: str
    tree: ast.Module

    @property
    def app(self) -> str:
        """The application's label as Django takes it by default: the package that holds `models` or the file."""
        parts = Path(self.path).parts[:-1]
        if "models" in parts:
            parts = parts[: parts.index("models")]
        return parts[-1] if parts else ""


def constants(node: ast.AST | None) -> list[tuple[str, int]]:
    """Text constants right in a list, tuple, set or call, or the one that stands alone; each with its line."""
    if isinstance(node, ast.Constant):
        return [(node.value, node.lineno)] if isinstance(node.value, str) else []
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [each for part in node.elts for each in constants(part)]
    if isinstance(node, ast.BinOp):  # a list put together of two
        return constants(node.left) + constants(node.right)
    return []


def last_name(node: ast.AST | None) -> str:
    """`Model` of `models.Model`, `Q` of `Q`; "" of whatever has no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """An argument by its name, or by its place."""
    named = next((k.value for k in call.keywords if k.arg == name), None)
    if named is None and position is not None and position < len(call.args):
        return call.args[position]
    return named
