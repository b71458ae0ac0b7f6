"""Work by hand: a run of its own steps, with everything a run has: lock, journal, resume, report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployguard.cli.console import Console
from deployguard.cli.project import read_runbook
from deployguard.cli.running import carry_out
from deployguard.engine.plan import Selection
from deployguard.errors import Refused
from deployguard.runbook.backed import reason_in
from deployguard.runbook.load import LoadedRunbook, runbook_from
from deployguard.runbook.spec import Command
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds

_KEPT = ("version", "django", "vars", "secrets", "encryption", "report", "notify")
_OF_ENVIRONMENT = ("directory", "database", "replicas", "vars", "secrets")
_OFTEN = {"attempts": 5, "backoff": "exponential"}
_READINESS = {"id": "readiness", "uses": "encryption.readiness", "with": {"required": True}}
_SUMMARY = {
    "encrypt": "Encrypt every encrypted column",
    "decrypt": "Decrypt every encrypted column",
    "rotate": "Bring every encrypted column under the newest key",
    "scrub": "Write the files of encrypted tables anew",
}

Steps = list[dict[str, Any]]


def run_by_hand(
    file: Path, env: str | None, verb: str, how: Mapping[str, object], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Encrypt, decrypt or rotate every row, and verify, or clean what is left in files, as a run of its own.

    Where the kind needs a backup before it, the runbook's own is taken first.

    Args:
        file: the project's runbook.
        env: the environment; the only one by default.
        verb: `encrypt`, `decrypt`, `rotate` or `scrub`.
        how: keys under `with:` of that step.
        dry_run: only say what would be done.
        yes: do not ask.
        as_json: for scripts.

    Raises:
        Refused: the runbook names no application, or takes no backup and nobody said why there is none.
    """
    loaded = _with_application(file)
    needs_backup = all_kinds()[f"encryption.{verb}"].needs_backup and not reason_in(how)
    steps: Steps = [
        *([_backup(loaded)] if needs_backup else ()),
        _READINESS,
        {"id": verb, "uses": f"encryption.{verb}", "with": dict(how), "retry": _OFTEN},
    ]
    # of a part of the rows, the rest is as it was: no fault, and nothing to roll back for
    if verb in {"encrypt", "rotate"} and not how.keys() & {"limit", "where"}:
        steps.append({"id": "verify", "uses": "encryption.verify"})
    derived = derive(loaded, f"{verb}-by-hand", f"{_SUMMARY[verb]}, by hand", steps, checks=[_key_check(loaded)])
    carry_out(Console(as_json=as_json), derived, file, env, None, Selection(), dry_run=dry_run, yes=yes)


def rotate_keys(file: Path, env: str | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Bring every token under the newest key of the list; take the old one away if nothing needs it any more.

    Raises:
        Refused: the runbook names no application, or only one key.
    """
    loaded = _with_two_keys(file)
    rotation = loaded.spec.encryption.rotation
    steps: Steps = [_READINESS]
    if rotation.add is not None:
        steps.append(_command("add-new-key", rotation.add))
    steps += [
        {"id": "rotate", "uses": "encryption.rotate", "retry": _OFTEN},
        {"id": "verify", "uses": "encryption.verify", "with": {"newest_key_only": True}},
        {"id": "old_key", "uses": "key.unneeded", "with": {"on_need": "warn", "folders": _folders(loaded)}},
    ]
    if rotation.remove is not None:
        condition = "steps.old_key.outputs.unneeded"
        steps += [{**step, "if": condition} for step in _removal(rotation.remove)]
    summary = "Bring every token under the newest key"
    # both keys open everything at every moment: nothing is urgent
    derived = derive(loaded, "rotate-keys", summary, steps, checks=[_key_check(loaded)], on_failure="stop")
    carry_out(Console(as_json=as_json), derived, file, env, None, Selection(), dry_run=dry_run, yes=yes)


def retire_keys(file: Path, env: str | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take the old keys away, or refuse while anything needs one.

    Raises:
        Refused: the runbook names no application, or only one key.
    """
    loaded = _with_two_keys(file)
    checks: Steps = [{"uses": "key.unneeded", "with": {"folders": _folders(loaded)}}]
    remove = loaded.spec.encryption.rotation.remove
    steps = _removal(remove) if remove is not None else [_swept("verify")]
    derived = derive(loaded, "retire-keys", "Take the old keys away", steps, checks=checks, on_failure="stop")
    carry_out(Console(as_json=as_json), derived, file, env, None, Selection(), dry_run=dry_run, yes=yes)


def _with_application(file: Path) -> LoadedRunbook:
    loaded = read_runbook(file)
    if loaded.spec.django is None:
        raise Refused("the runbook names no Django application", hint="Add django: with manage: and python:.")
    return loaded


def _with_two_keys(file: Path) -> LoadedRunbook:
    loaded = _with_application(file)
    if len(loaded.spec.encryption.keys) == 1:
        raise Refused(
            f"the runbook names one key only, {loaded.spec.encryption.keys[0]}",
            hint="Make a new one with 'deployguard keys generate' and save it; name it under secrets:, put it first in "
            "encryption: keys:, and give the application both in django: env:, the new one first.",
        )
    return loaded


def _backup(loaded: LoadedRunbook) -> dict[str, Any]:
    """The runbook's own backup of the environment's database, tried as far as it can be."""
    for step in loaded.data.get("steps") or ():
        if step.get("uses") == "backup.create" and not {"database", "matrix"} & step.keys():
            kept = {key: value for key, value in step.items() if key in {"uses", "env", "timeout", "retry"}}
            undo = {"uses": "backup.restore", "when": "requested"}
            return {"id": "backup", **kept, "with": {**step.get("with", {}), "verify": "restore"}, "rollback": undo}
    raise Refused(
        "this rewrites rows, and the runbook says nowhere how the environment's database is backed up",
        hint="Add a step uses: backup.create to the runbook, or say --without-backup and why.",
    )


def _key_check(loaded: LoadedRunbook) -> dict[str, Any]:
    """The runbook's own check of its keys: it knows which environments share one."""
    own = next((step.with_ for step in loaded.spec.preflight if step.uses == "key.check"), {})
    return {"uses": "key.check", "with": own}


def _command(name: str, command: Command) -> dict[str, Any]:
    given = command.model_dump(exclude_none=True)
    return {"id": name, "idempotent": True, **given}


def _removal(remove: Command) -> Steps:
    return [_command("remove-old-key", remove), _swept("sweep")]


def _swept(name: str) -> dict[str, Any]:
    return {"id": name, "uses": "encryption.verify", "with": {"newest_key_only": True}}


def _folders(loaded: LoadedRunbook) -> list[str]:
    """Where the runbook's own steps keep backups beside deployguard's folder."""
    named = (step.with_.get("to") for step in loaded.spec.steps if step.uses == "backup.create")
    return [str(folder) for folder in named if folder]


def derive(
    loaded: LoadedRunbook, name: str, summary: str, steps: Sequence[Mapping[str, Any]],
    *, checks: Sequence[Mapping[str, Any]] = (), on_failure: str = "rollback", aside: bool = False,
) -> LoadedRunbook:  # fmt: skip
    """A runbook of some steps, in the environments and with the secrets of the project's own.

    Args:
        loaded: the project's.
        name: of what is done by hand.
        summary: the same in a sentence.
        steps: as a file would have them.
        checks: what preflight looks at, likewise, before the database's answer.
        on_failure: what then.
        aside: whether its runs stand aside.
    """
    environments = {
        each: {
            **{key: value for key, value in (entry or {}).items() if key in _OF_ENVIRONMENT},
            "on_failure": on_failure,
        }
        for each, entry in loaded.data["environments"].items()
    }
    definition = {
        **{key: value for key, value in loaded.data.items() if key in _KEPT},
        "name": name, "summary": summary, "environments": environments,
        "preflight": [*checks, {"uses": "database.reachable"}],
        "steps": list(steps), "file": loaded.file.name, "derived": True, "aside": aside,
    }  # fmt: skip
    made = runbook_from(definition, all_kinds(), SOURCES)
    return replace(made, file=loaded.file)
