"""Django settings, read without running them: which environment variables they ask for."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MODULE = re.compile(r"DJANGO_SETTINGS_MODULE[\"']\s*,\s*[\"']([\w.]+)[\"']")
_NAME = re.compile(r"[A-Z][A-Z0-9_]{2,}")
_READERS = {"env", "config", "getenv", "get", "str", "bool", "int", "float", "list", "json", "url", "db", "db_url"}
"""What django-environ, decouple, dj-database-url and os call the reading of a variable."""
_OF_DATABASE = {"db", "db_url", "config"}


@dataclass(frozen=True)
class Settings:
    """What the settings' source asks of the environment.

    Attributes:
        module: as manage.py names it; "" where it names none.
        required: variables that are read without a default, in the order they stand in.
        optional: variables that have one.
        assigned: names of settings.
    """

    module: str = ""
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    assigned: frozenset[str] = frozenset()

    def variables(self) -> list[str]:
        """All of them, those that must be there first."""
        return [*self.required, *self.optional]

    def database(self) -> str | None:
        """The one that holds the database's URL."""
        return next((n for n in self.variables() if n.endswith("URL") and ("DATABASE" in n or "DB" in n)), None)

    def keys(self) -> list[str]:
        """Those that hold a field-encryption key; one that is a setting of the same name comes last."""
        found = [n for n in self.variables() if "KEY" in n and re.search("ENCRYPT|FERNET|CRYPTO", n)]
        return sorted(found, key=lambda name: name in self.assigned)


def read_settings(manage: Path) -> Settings:
    """What manage.py's settings ask for; nothing of it is run, and what cannot be read is passed over."""
    module = _MODULE.search(_text(manage))
    if module is None:
        return Settings()
    required: dict[str, None] = {}
    optional: dict[str, None] = {}
    assigned: set[str] = set()
    for file in _files(manage.parent, module[1]):
        tree = _tree(file)
        for node in ast.walk(tree) if tree else ():
            for name, must in _asked(node):
                (required if must else optional).setdefault(name)
            if isinstance(node, ast.Assign):
                assigned |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return Settings(module[1], tuple(required), tuple(n for n in optional if n not in required), frozenset(assigned))


def _files(folder: Path, module: str) -> list[Path]:
    """The module, and what stands beside it: settings are often made of several files."""
    place = folder.joinpath(*module.split("."))
    if place.is_dir():
        return sorted(place.rglob("*.py"))
    return [place.with_suffix(".py"), *(p for p in sorted(place.parent.glob("*.py")) if p.stem != place.stem)]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _tree(file: Path) -> ast.Module | None:
    try:
        return ast.parse(_text(file))
    except (SyntaxError, ValueError):
        return None


def _asked(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """Variables that an expression reads, and whether each must be there."""
    if isinstance(node, ast.Subscript) and _is_environment(node.value) and (name := _constant(node.slice)):
        yield name, True
    if not isinstance(node, ast.Call):
        return
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in _READERS:
        return
    on = node.func.value if isinstance(node.func, ast.Attribute) else None
    if called == "get" and not _is_environment(on):
        return
    name = _constant(node.args[0]) if node.args else ""
    if not node.args and called in _OF_DATABASE and on is not None:
        name = next((_constant(k.value) for k in node.keywords if k.arg == "env"), "") or "DATABASE_URL"
    has_default = len(node.args) > 1 or any(k.arg == "default" for k in node.keywords) or called in {"get", "getenv"}
    if name:
        yield name, not has_default


def _is_environment(node: ast.expr | None) -> bool:
    named = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return "env" in named.lower()


def _constant(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""
