"""Packages that an application cannot start without, read off its import statements."""

import ast
import sys
from collections.abc import Iterable, Iterator

from deployguard.source.base import Module


def required_packages(modules: Iterable[Module]) -> dict[str, str]:
    """Top-level names that the source imports, each with the first place, as file:line.

    Left out: the standard library, the application's own modules, and what is imported where its
    absence is foreseen: under `try`, in a function, for type checkers.
    """
    modules = list(modules)
    own = {part.removesuffix(".py") for module in modules for part in module.path.split("/")}
    found: dict[str, str] = {}
    for module in modules:
        for name, line in _imported(module.tree.body):
            if name not in own and name not in sys.stdlib_module_names:
                found.setdefault(name, f"{module.path}:{line}")
    return dict(sorted(found.items()))


def _imported(body: Iterable[ast.stmt]) -> Iterator[tuple[str, int]]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from ((alias.name.partition(".")[0], statement.lineno) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.module.partition(".")[0], statement.lineno
        elif isinstance(statement, ast.ClassDef):
            yield from _imported(statement.body)
