"""Work by hand: a run of one step, with everything a run has: lock, journal, resume, report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployguard.cli.console import Console
from deployguard.cli.project import read_runbook
from deployguard.cli.running import carry_out
from deployguard.engine.plan import Selection
from deployguard.errors import Refused
from deployguard.runbook.load import LoadedRunbook, runbook_from
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds

_KEPT = ("version", "django", "vars", "secrets", "encryption", "report")
_OF_ENVIRONMENT = ("directory", "database", "vars", "secrets")


def run_by_hand(file: Path, env: str | None, verb: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Encrypt, decrypt or rotate every row, and verify, as a run of its own.

    Raises:
        Refused: the runbook names no application.
    """
    loaded = read_runbook(file)
    if loaded.spec.django is None:
        raise Refused("the runbook names no Django application", hint="Add django: with manage: and python:.")
    steps: list[dict[str, object]] = [
        {"id": "readiness", "uses": "encryption.readiness", "with": {"required": True}},
        {"id": verb, "uses": f"encryption.{verb}", "retry": {"attempts": 5, "backoff": "exponential"}},
        {"id": "verify", "uses": "encryption.verify"},
    ]
    derived = derive(
        loaded, verb, f"{verb.capitalize()} every encrypted column, by hand",
        steps[:-1] if verb == "decrypt" else steps, preflight=[{"uses": "key.check"}, {"uses": "database.reachable"}],
    )  # fmt: skip
    carry_out(Console(as_json=as_json), derived, file, env, None, Selection(), dry_run=dry_run, yes=yes)


def derive(
    loaded: LoadedRunbook, verb: str, summary: str, steps: Sequence[Mapping[str, Any]],
    *, preflight: Sequence[Mapping[str, Any]] = (), aside: bool = False,
) -> LoadedRunbook:  # fmt: skip
    """A runbook of some steps, in the environments and with the secrets of the project's own.

    Args:
        loaded: the project's.
        verb: what is done by hand.
        summary: the same in a sentence.
        steps: as a file would have them.
        preflight: likewise.
        aside: whether its runs stand aside.
    """
    environments = {
        name: {key: value for key, value in (entry or {}).items() if key in _OF_ENVIRONMENT}
        for name, entry in loaded.data["environments"].items()
    }
    definition = {
        **{key: value for key, value in loaded.data.items() if key in _KEPT},
        "name": f"{verb}-by-hand",
        "summary": summary,
        "environments": environments,
        "preflight": list(preflight),
        "steps": list(steps),
        "file": loaded.file.name,
        "derived": True,
        "aside": aside,
    }
    made = runbook_from(definition, all_kinds(), SOURCES)
    return replace(made, file=loaded.file)
