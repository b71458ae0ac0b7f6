"""Row work by hand: a run of one step, with everything a run has: lock, journal, resume, report, rollback."""

from pathlib import Path

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
    derived = _derived(loaded, verb)
    carry_out(Console(as_json=as_json), derived, file, env, None, Selection(), dry_run=dry_run, yes=yes)


def _derived(loaded: LoadedRunbook, verb: str) -> LoadedRunbook:
    environments = {
        name: {key: value for key, value in (entry or {}).items() if key in _OF_ENVIRONMENT}
        for name, entry in loaded.data["environments"].items()
    }
    steps: list[dict[str, object]] = [
        {"id": "readiness", "uses": "encryption.readiness", "with": {"required": True}},
        {"id": verb, "uses": f"encryption.{verb}", "retry": {"attempts": 5, "backoff": "exponential"}},
        {"id": "verify", "uses": "encryption.verify"},
    ]
    definition = {
        **{key: value for key, value in loaded.data.items() if key in _KEPT},
        "name": f"{verb}-by-hand",
        "summary": f"{verb.capitalize()} every encrypted column, by hand",
        "environments": environments,
        "preflight": [{"uses": "key.check"}, {"uses": "database.reachable"}],
        "steps": steps[:-1] if verb == "decrypt" else steps,
        "file": loaded.file.name,
        "derived": True,
    }
    made = runbook_from(definition, all_kinds(), SOURCES)
    return LoadedRunbook(loaded.file, made.spec, made.digest, made.data, made.document, derived=True)
