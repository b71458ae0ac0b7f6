"""Every place of an application's source that looks at a column's content through the database.

The source is read as syntax trees; nothing of it is imported. Which model a query is about
follows from names, imports, assignments, relations and the class around it. Where it does
not follow, a place counts as a possible one if the names fit.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployguard.source.base import Column, Use
from deployguard.source.classes import Classes, registered_admins
from deployguard.source.files import read_modules
from deployguard.source.models import Registry
from deployguard.source.queries import Queries
from deployguard.source.scope import Scope
from deployguard.source.sql import in_sql_files


@dataclass(frozen=True)
class Usage:
    """What was found.

    Attributes:
        uses: in the order of files and lines, each once.
        files: how many were read.
        unread: those that are not Python of this version.
    """

    uses: tuple[Use, ...]
    files: int
    unread: tuple[str, ...]


def find_uses(directory: Path, columns: Sequence[Column]) -> Usage:
    """Read a working copy's source for uses of some columns. Imports and changes nothing."""
    modules, unread = read_modules(directory)
    registry = Registry(modules, columns)
    found = set(in_sql_files(directory, columns))
    scopes = [(Scope(registry, module), module) for module in modules]
    admins = {name: model for scope, module in scopes for name, model in registered_admins(scope, module.tree)}
    for scope, module in scopes:
        queries = Queries(scope, module.path, found.add)
        classes = Classes(scope, module.path, found.add, admins)
        for statement in module.tree.body:
            if isinstance(statement, ast.ClassDef):
                classes.read(statement)
            else:
                queries.visit(statement)
    sure = {(use.file, use.line, use.column) for use in found if use.sure}
    uses = sorted(use for use in found if use.sure or (use.file, use.line, use.column) not in sure)
    return Usage(tuple(uses), len(modules), tuple(unread))
