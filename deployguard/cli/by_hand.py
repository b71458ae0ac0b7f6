"""Row work by hand: a run of one step, with everything a run has: lock, journal, resume, report, rollback."""

from collections.abc import Mapping
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
_SUMMARY = {
    "encrypt": "Encrypt every encrypted column",
    "decrypt": "Decrypt every encrypted column",
    "rotate": "Bring every encrypted column under the newest key",
    "scrub": "Write the files of encrypted tables anew",
}
_OF_ENVIRONMENT = ("directory", "database", "replicas", "vars", "secrets")


def run_by_hand(
    file: Path, env: str | None, verb: str, how: Mapping[str, object], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Encrypt, decrypt or rotate every row, and verify, or clean what is left in files, as a run of its own.

    Args:
        file: the project's runbook.
        env: the environment; the only one by default.
        verb: `encrypt`, `decrypt`, `rotate` or `scrub`.
        how: keys under `with:` of that step.
        dry_run: only say what would be done.
        yes: do not ask.
        as_json: for scripts.

    Raises:
        Refused: the runbook names no application.
    """
    loaded = read_runbook(file)
    if loaded.spec.django is None:
        raise Refused("the runbook names no Django application", hint="Add django: with manage: and python:.")
    derived = _derived(loaded, verb, how)
    carry_out(Console(as_json=as_json), derived, file, env, None, Selection(), dry_run=dry_run, yes=yes)


def _derived(loaded: LoadedRunbook, verb: str, how: Mapping[str, object]) -> LoadedRunbook:
    environments = {
        name: {key: value for key, value in (entry or {}).items() if key in _OF_ENVIRONMENT}
        for name, entry in loaded.data["environments"].items()
    }
    steps: list[dict[str, object]] = [
        {"id": "readiness", "uses": "encryption.readiness", "with": {"required": True}},
        {
            "id": verb,
            "uses": f"encryption.{verb}",
            "with": dict(how),
            "retry": {"attempts": 5, "backoff": "exponential"},
        },
    ]
    # of a part of the rows, the rest is as it was: no fault, and nothing to roll back for
    if verb in {"encrypt", "rotate"} and not how.keys() & {"limit", "where"}:
        steps.append({"id": "verify", "uses": "encryption.verify"})
    definition = {
        **{key: value for key, value in loaded.data.items() if key in _KEPT},
        "name": f"{verb}-by-hand",
        "summary": f"{_SUMMARY[verb]}, by hand",
        "environments": environments,
        "preflight": [{"uses": "key.check"}, {"uses": "database.reachable"}],
        "steps": steps,
        "file": loaded.file.name,
        "derived": True,
    }
    made = runbook_from(definition, all_kinds(), SOURCES)
    return LoadedRunbook(loaded.file, made.spec, made.digest, made.data, made.document, derived=True)
