"""The step kinds: our own in one list on one screen, other people's through the entry point."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from deployguard.steps.base import Step

ENTRY_POINTS = "deployguard.steps"


class Kinds(Mapping[str, type[Step]]):
    """Kinds by name, each imported when it is asked for: a command pays for those that its runbook uses.

    The name says where a kind stands: `git.update` is the class `GitUpdate` in `git_update.py`.
    """

    def __init__(self, *names: str) -> None:
        self._names = dict.fromkeys(names)

    def __getitem__(self, name: str) -> type[Step]:
        if name not in self._names:
            raise KeyError(name)
        module = name.replace(".", "_")
        kind: type[Step] = getattr(import_module(f"{__name__}.{module}"), module.title().replace("_", ""))
        return kind

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


KINDS: Mapping[str, type[Step]] = Kinds(
    "key.check",
    "key.unneeded",
    "git.clean",
    "git.update",
    "python.install",
    "database.reachable",
    "database.quiet",
    "clock.skew",
    "disk.space",
    "folder.private",
    "tools.present",
    "dependencies.importable",
    "django.check",
    "django.deploy_check",
    "django.pending_migrations",
    "django.migration_locks",
    "django.migrate",
    "backup.create",
    "backup.restore",
    "backup.destroy",
    "rehearse",
    "encryption.readiness",
    "encryption.usage",
    "plaintext.copies",
    "encryption.plan",
    "encryption.encrypt",
    "encryption.decrypt",
    "encryption.rotate",
    "encryption.verify",
    "encryption.roundtrip",
    "encryption.scrub",
    "gate.approval",
    "gate.window",
    "gate.promotion",
    "gate.command",
    "gate.http",
    "gate.sql",
    "gate.metric",
    "tls.expiry",
    "http",
    "http.baseline",
    "sql",
    "log",
    "monitor",
    "run",
)


class _AndTheirs(Mapping[str, type[Step]]):
    """Our own kinds, and those of installed packages, which are looked for only when ours do not have a name."""

    def __init__(self, ours: Mapping[str, type[Step]]) -> None:
        self._ours = ours

    def __getitem__(self, name: str) -> type[Step]:
        return self._ours[name] if name in self._ours else _theirs()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._ours or name in _theirs()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._ours, *_theirs()]))

    def __len__(self) -> int:
        return len(list(iter(self)))


@cache
def _theirs() -> dict[str, type[Step]]:
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}


@cache
def all_kinds() -> Mapping[str, type[Step]]:
    """Our own kinds, and those of installed packages; none of theirs takes the name of one of ours."""
    return _AndTheirs(KINDS)
