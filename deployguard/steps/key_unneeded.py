"""`key.unneeded`: nothing needs an old key any more."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from deployguard.backup.destinations import Destination
from deployguard.backup.find import Backup, backups
from deployguard.backup.seal import operator_key
from deployguard.errors import DeployguardError
from deployguard.keys.check import parse_key
from deployguard.keys.fingerprint import fingerprint
from deployguard.steps.backup_create import destination_of
from deployguard.steps.base import JSON, Check, Context, Outcome, Target
from deployguard.steps.encryption import tokens_there

Problem = tuple[str, str]
"""What needs an old key, and how that ends, in one line."""


class KeyUnneeded(Check):
    """Check that no row, no backup that is kept and no other environment needs a key but the newest.

    Every row is read and every token opened. A backup says in its manifest which keys its tokens
    need; one that says nothing, since an earlier version took it, counts as needing them all. An
    old key that is taken away too early is a loss that nobody notices before the day of a restore.
    """

    uses: ClassVar[str] = "key.unneeded"
    outputs: ClassVar[tuple[str, ...]] = ("unneeded",)
    example: ClassVar[str] = "- id: old_key\n  uses: key.unneeded\n  with: { on_need: warn }"

    on_need: Literal["fail", "warn"] = "fail"
    """What it means that something needs an old key: a failure, or a warning with the output `unneeded` left empty."""
    folders: tuple[str, ...] = ()
    """Where else backups are kept, as `to:` of `backup.create` says it; our own folder is looked at anyway."""

    def execute(self, context: Context) -> Outcome:
        """Ask rows, backups and the other environments; nothing is changed."""
        target = context.target
        prints = target.keyring.fingerprints
        if len(prints) == 1:
            return Outcome("there is only one key", evidence={"newest": prints[0]}, outputs={"unneeded": ""})
        old = dict(zip(prints[1:], target.keys[1:], strict=True))
        newest, older = tokens_there(context)
        notes: list[str] = []
        problems = [*_in_rows(older, old), *self._in_backups(context, old), *_elsewhere(target, old, notes)]
        evidence: JSON = {
            "newest": prints[0], "old": old, "tokens": {"newest": newest, "older": older}, "notes": notes,
            "needed_by": [{"what": what, "until": until} for what, until in problems],
        }  # fmt: skip
        if problems:
            told = "; ".join(what for what, _ in problems)
            hint = " ".join(dict.fromkeys(until for _, until in problems))
            return Outcome(f"an old key is still needed: {told}", self.on_need, hint, evidence, {"unneeded": ""})
        shown = ", ".join(f"{name} {one}" for one, name in old.items())
        summary = f"nothing needs {shown} any more: {newest:,} tokens are under {target.keys[0]} {prints[0]}"
        return Outcome("; ".join([summary, *notes]), evidence=evidence, outputs={"unneeded": "yes"})

    def _in_backups(self, context: Context, old: Mapping[str, str]) -> Iterator[Problem]:
        for name in dict.fromkeys(["", *self.folders]):
            there = destination_of(name, context.target, context.env)
            if there.names():
                yield from _in_destination(there, context.target, old)


def _in_rows(older: int, old: Mapping[str, str]) -> Iterator[Problem]:
    if older:
        yield f"{older:,} tokens are under {' or '.join(old.values())}", "Run 'deployguard keys rotate' to its end."


def _in_destination(there: Destination, target: Target, old: Mapping[str, str]) -> Iterator[Problem]:
    prune = "Take a new backup; let the old ones expire, or destroy them ('deployguard backup prune')."
    for found in backups(there, operator_key(target.home.path, make=False)):
        if not isinstance(found, Backup):
            yield f"{found.message}, so nobody knows which key it needs", "Remove it if it is of no use."
            continue
        manifest = found.manifest
        if manifest.environment != target.environment:
            continue
        if manifest.keys is None:
            yield f"the backup {manifest.id} does not say which keys it needs", prune
        elif needs := [name for one, name in old.items() if one in manifest.keys]:
            yield f"the backup {manifest.id} needs {', '.join(needs)} until {manifest.expires[:10]}", prune


def _elsewhere(target: Target, old: Mapping[str, str], notes: list[str]) -> Iterator[Problem]:
    for environment, secrets in target.elsewhere.items():
        for name in target.keys:
            if secrets.place(name) == target.secrets.place(name):  # there it may be another: each machine has its own
                notes.append(f"not compared with {environment}: {name} has the same place there")
                continue
            try:
                theirs = fingerprint(parse_key(secrets.get(name)))
            except DeployguardError as error:
                notes.append(f"not compared with {environment}: {error.message}")
                continue
            if theirs in old:
                yield f"{environment} uses {old[theirs]} as its {name}", f"Give {environment} a key of its own."
