"""A project's folder → what a runbook for it must say. Nothing is changed; an application that starts is asked."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployguard.errors import DeployguardError, UsageError
from deployguard.rows.application import Application
from deployguard.rows.discover import Discovery, discover
from deployguard.starter.settings import Settings, read_settings
from deployguard.visible import visible
from deployguard.working_copy import WorkingCopy

_INTERPRETERS = (".venv/bin/python", "venv/bin/python", "env/bin/python")
_DEPTH = 3
"""Folders below the project's in which manage.py and apps are looked for."""
_PASSED_OVER = {"node_modules", "site-packages", "__pycache__", "venv", "env", "build", "dist"}
_MIGRATION = re.compile(r"\d{4}_\w+")
_ENCRYPTS = re.compile(r"^\s*\"?'?(django[\w.-]*(?:encrypt|fernet|crypt)[\w.-]*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """What is there.

    Attributes:
        manage, python: paths from the project's folder; None where it is no Django project.
        settings: what the application's settings ask of the environment.
        engine, database: the product and the name of its database, as the application says.
        columns: encrypted columns, as table.column.
        packages: what encrypts them.
        apps: the apps that have migrations of their own, and each one's latest.
        remote, branch: where the code comes from; None without git.
        tested: those of the apps that have tests.
        requirements: the file that says what it needs; None where `python.install` would not know what to do.
        notes: what could not be found out, and what to do about it; one sentence each.
    """

    name: str
    manage: str | None = None
    python: str = _INTERPRETERS[0]
    settings: Settings = field(default_factory=Settings)
    engine: str = ""
    database: str = ""
    columns: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    apps: dict[str, str] = field(default_factory=dict)
    remote: str | None = None
    branch: str | None = None
    tested: tuple[str, ...] = ()
    requirements: str | None = None
    notes: tuple[str, ...] = ()


def look(project: Path, django: Path | None = None) -> Found:
    """Look at a project.

    Args:
        project: the folder where the runbook will stand.
        django: the folder of manage.py; by default the only one in the project that has one.

    Raises:
        UsageError: there are several, or none where one was named.
    """
    manage = _manage(project, django)
    remote, branch = _origin(project)
    name = re.sub(r"[^a-z0-9]+", "-", project.resolve().name.lower()).strip("-") or "project"
    if manage is None:
        note = "No manage.py was found: put the commands of your deployment under steps:."
        return Found(name, remote=remote, branch=branch, notes=(note,))
    notes: list[str] = []
    python = _python(project, manage.parent, notes)
    said = _asked(project, manage, python, notes)
    settings = read_settings(manage)
    if settings.database() is None:
        notes.append("No variable with the database's URL was found in the settings: correct database: by hand.")
    if len(keys := settings.keys()) > 1:
        notes.append(f"Several variables look like an encryption key ({', '.join(keys)}): {keys[0]} was taken.")
    default = next((d for d in said.databases if d.alias == "default"), None) if said else None
    packages = {c.package for c in said.fields if c.package} if said else set(_packages(project, manage.parent))
    return Found(
        name, manage=_shown(manage, project), python=_shown(python, project), settings=settings,
        engine=default.engine.rpartition(".")[2] if default else "", database=default.name if default else "",
        columns=tuple(f"{c.table}.{c.column}" for c in said.fields) if said else (),
        packages=tuple(sorted(packages)), apps=(apps := _apps(manage.parent, said)),
        tested=tuple(app for app in apps if _has_tests(manage.parent, app)), remote=remote, branch=branch,
        requirements=next((_shown(f, project) for f in _needs(project, manage.parent) if f.is_file()), None),
        notes=tuple(notes),
    )  # fmt: skip


def _manage(project: Path, django: Path | None) -> Path | None:
    if django is not None:
        if not (django / "manage.py").is_file():
            raise UsageError(f"--django {django}: there is no manage.py", hint="Name the folder that it stands in.")
        return django / "manage.py"
    found = [folder / "manage.py" for folder in _folders(project) if (folder / "manage.py").is_file()]
    if len(found) > 1 and found[0].parent != project:
        where = ", ".join(_shown(f.parent, project) for f in found)
        raise UsageError("there are several Django projects here", hint=f"Name one with --django: {where}.")
    return found[0] if found else None


def _folders(top: Path) -> Iterator[Path]:
    """A folder and those in it, the nearest first."""
    level = [top]
    for _ in range(_DEPTH):
        yield from level
        level = sorted(entry for folder in level for entry in _inside(folder))


def _inside(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError:  # not ours to read
        return
    for entry in entries:
        passed_over = entry.name.startswith(".") or entry.name in _PASSED_OVER or entry.is_symlink()
        if not passed_over and entry.is_dir():
            yield entry


def _python(project: Path, application: Path, notes: list[str]) -> Path:
    for folder in (application, project):
        for interpreter in _INTERPRETERS:
            if (folder / interpreter).is_file():
                return folder / interpreter
    notes.append("No virtual environment was found: make one, or correct python: under django:.")
    return application / _INTERPRETERS[0]


def _asked(project: Path, manage: Path, python: Path, notes: list[str]) -> Discovery | None:
    """What the application says of itself, started as the person who asks would start it."""
    application = Application(python.absolute(), manage.absolute(), project.absolute(), env=dict(os.environ))
    try:
        return discover(application)
    except DeployguardError as error:
        notes.append(visible(f"The application could not be asked: {error.message}. {error.hint}").strip())
        return None


def _packages(*folders: Path) -> Iterator[str]:
    for folder in folders:
        for file in (*sorted(folder.glob("requirements*.txt")), folder / "pyproject.toml"):
            if file.is_file():
                yield from (name.lower() for name in _ENCRYPTS.findall(file.read_text("utf-8", "replace")))


def _apps(application: Path, said: Discovery | None) -> dict[str, str]:
    """Apps with migrations of their own; those with encrypted columns alone, where there are any."""
    latest: dict[str, str] = {}
    for folder in _folders(application):
        names = [f.stem for f in (folder / "migrations").glob("*.py") if _MIGRATION.fullmatch(f.stem)]
        if names and folder.name.isidentifier():
            latest[folder.name] = max(names)
    encrypted = {c.field.partition(".")[0] for c in said.fields} if said else set()
    return {app: name for app, name in latest.items() if app in encrypted} or latest


def _has_tests(application: Path, app: str) -> bool:
    here = [f for f in _folders(application) if f.name == app]
    return any((f / "tests").is_dir() or any(f.glob("test*.py")) for f in here)


def _needs(project: Path, application: Path) -> list[Path]:
    locks = [project / "uv.lock", project / "poetry.lock"]
    return [*locks, project / "requirements.txt", application / "requirements.txt"]


def _origin(project: Path) -> tuple[str | None, str | None]:
    copy = WorkingCopy(project)
    try:
        copy.require()
        remotes: Sequence[str] = copy.git("remote").split()
    except DeployguardError:
        return None, None
    if not remotes:
        return None, None
    return ("origin" if "origin" in remotes else remotes[0]), copy.branch() or "main"


def _shown(path: Path, project: Path) -> str:
    return os.path.relpath(path.absolute(), project.absolute())
