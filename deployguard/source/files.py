"""The application's source files, read and parsed; nothing of them is run."""

import ast
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from deployguard.source.base import Module

_SKIPPED = {"node_modules", "site-packages", "__pycache__", "migrations", "venv", "env", "build", "dist"}
LARGEST = 4 * 1024 * 1024
"""Bytes; no person wrote a larger file."""


def source_files(directory: Path, suffix: str) -> Iterator[Path]:
    """Files of a kind, in order. Left out: hidden folders, installed packages, and migrations, which are history."""
    for folder, folders, names in os.walk(directory):
        here = Path(folder)
        folders[:] = sorted(
            n for n in folders if not (n in _SKIPPED or n[0] == "." or (here / n / "pyvenv.cfg").exists())
        )
        for name in sorted(names):
            path = here / name
            if name.endswith(suffix) and path.is_file() and path.stat().st_size <= LARGEST:
                yield path


def read_modules(directory: Path) -> tuple[list[Module], list[str]]:
    """Every Python file as a syntax tree, and the names of those that are not Python of this version."""
    modules: list[Module] = []
    unread: list[str] = []
    for path in source_files(directory, ".py"):
        name = path.relative_to(directory).as_posix()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the application's string escapes; they are not ours to report
                modules.append(Module(name, ast.parse(path.read_bytes())))
        except (SyntaxError, ValueError, RecursionError):
            unread.append(name)
    return modules, unread
