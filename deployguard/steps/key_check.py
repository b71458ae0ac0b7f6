"""`key.check`: the key is there, is a key, is nobody else's, and can neither be lost nor found."""

import secrets as random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from deployguard.errors import DeployguardError, Refused
from deployguard.keys.check import parse_key
from deployguard.keys.fingerprint import fingerprint
from deployguard.keys.keyring import Keyring
from deployguard.keys.leaks import Leak, Limits, file_leaks, history_leaks, is_repository, loose_leaks
from deployguard.keys.spellings import Spellings
from deployguard.rows.application import Application
from deployguard.rows.try_tokens import FIND_THE_KEY, try_tokens
from deployguard.runbook.quantities import Duration
from deployguard.secret import Secret
from deployguard.steps.base import JSON, Check, Context, Outcome, Progress, Target
from deployguard.steps.column_keys import key_lines, keys_of_application
from deployguard.steps.encryption import opened

Problem = tuple[str, str]
"""What is wrong, and how to mend it in one line."""


class KeyCheck(Check):
    """Check every field-encryption key: it is there, a key, and random; other environments have others.

    Keys that the application derives for columns of its own are looked at alike. The key opens with
    its second copy, opens the tokens that are in the database already (`encryption.readiness` reads
    every one), stays the same from one start of the application to the next, and stands nowhere in
    git's history (any branch, tag or stash), in no file that is shipped, and in none that others may read.
    """

    uses: ClassVar[str] = "key.check"
    example: ClassVar[str] = (
        "- uses: key.check\n  with:\n    escrow: encryption_key_in_the_safe\n"
        "    others: { production: production_encryption_key }"
    )

    secrets: tuple[str, ...] = ()
    """Names under secrets:; by default those of encryption: keys:."""
    escrow: str = ""
    """Name of the secret that is the newest key's second copy, kept elsewhere; it must open what the key seals."""
    others: Mapping[str, str] = Field(default_factory=dict)
    """ENVIRONMENT: name of a secret here that is its key; by default its own of the same name, as far as it can be
    fetched from here. They must differ."""
    shared_with: tuple[str, ...] = ()
    """All environments that have one key by intent, two at least. Theirs must be the same."""
    must_have: tuple[str, ...] = ()
    """Environments of others: whose key must be there; of the rest it is only said that it cannot be fetched."""
    search: Duration = Field(120.0, gt=0)
    """How long the search for copies of the key, in history and files, may take."""

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if len(self.shared_with) == 1:
            raise ValueError("shared_with: name all environments that have this key, two at least")
        return self

    def execute(self, context: Context) -> Outcome:
        """Fetch each key, look at it from all sides; only a fingerprint goes on record."""
        names = self.secrets or context.target.keys
        theirs, problems = _of_the_application(context.target)
        if not names and not theirs and not problems:
            return Outcome(
                "the runbook names no encryption key",
                status="fail",
                hint="Add one under secrets: and encryption: keys:.",
            )
        keys, bad = _parsed(context.target, names)
        problems += bad
        notes = key_lines(context.discover().fields) if theirs else []
        if keys:
            problems += [*self._second_copy(context.target, keys[0]), *self._elsewhere(context.target, keys, notes)]
            problems += _closed_tokens(context, notes)
        if keys or theirs:
            derived = [key for _, ring in theirs for key in ring]
            problems += [*_starts(context.target.application_parts), *self._copies(context, [*keys, *derived], notes)]
        known = [
            {"name": key.name, "fingerprint": fingerprint(key), "source": context.target.secrets.place(key.name)}
            for key in keys
        ]
        known += [
            {"name": key.name, "fingerprint": fingerprint(key), "source": f"the application, for {place}"}
            for place, ring in theirs
            for key in ring
        ]
        return _outcome(known, problems, notes)

    def _second_copy(self, target: Target, key: Secret) -> Iterator[Problem]:
        if not self.escrow:
            return
        place = target.secrets.place(self.escrow)
        if place == target.secrets.place(key.name):
            yield f"the second copy {self.escrow} is in the same place as {key.name} ({place})", _KEEP
        try:
            copy = Keyring(parse_key(target.secrets.get(self.escrow)))
        except DeployguardError as error:
            yield error.message, error.hint
            return
        challenge = random.token_bytes(32)
        opened = copy.open(Keyring(key).seal(challenge))
        if opened is None or opened.plaintext != challenge:
            yield f"the second copy {self.escrow} does not open what {key.name} seals: it is another key", _KEEP

    def _elsewhere(self, target: Target, keys: Sequence[Secret], notes: list[str]) -> Iterator[Problem]:
        mine = {fingerprint(key): key.name for key in keys}
        for environment in set(self.must_have) - {*self.others, *target.elsewhere, target.environment}:
            yield f"must_have: names {environment}, which is no environment here", "Correct must_have:."
        for environment in dict.fromkeys([*self.others, *target.elsewhere]):
            if environment == target.environment:
                continue
            try:
                same = mine.get(fingerprint(self._theirs(target, environment, keys[0].name)))
            except DeployguardError as error:
                if environment in self.must_have:
                    yield f"{environment} has no key: {error.message}", error.hint
                else:
                    notes.append(f"not compared with {environment}: {error.message}")
                continue
            shared = {environment, target.environment} <= set(self.shared_with)
            if same and not shared:
                both = f"[{target.environment}, {environment}]"
                yield (
                    f"{target.environment} and {environment} have the same key ({same})",
                    f"Make a key for each with 'deployguard keys generate', or say shared_with: {both}.",
                )
            if shared and not same:
                yield (
                    f"{target.environment} and {environment} are to share a key and have different ones",
                    f"Give both the same key, or take {environment} out of shared_with:.",
                )

    def _theirs(self, target: Target, environment: str, name: str) -> Secret:
        if environment in self.others:
            return target.secrets.get(self.others[environment])
        theirs = target.elsewhere[environment]
        if theirs.place(name) == target.secrets.place(name):  # there it may be another: each machine has its own
            raise Refused(f"it names the same place ({theirs.place(name)})", hint="Say which in others:.")
        return theirs.get(name)

    def _copies(self, context: Context, keys: Sequence[Secret], notes: list[str]) -> Iterator[Problem]:
        target, spellings = context.target, Spellings(keys)
        limits = Limits(time.monotonic() + self.search, _pulse(context))
        searches: list[Iterator[Leak]] = []
        if is_repository(target.directory):
            searches += [history_leaks(target.directory, spellings, limits)]
            searches += [file_leaks(target.directory, spellings, limits)]
        else:
            notes.append(f"{target.directory} is not a git working copy, so it has no history to search")
        if target.project.resolve() != target.directory.resolve() or not searches:
            searches += [loose_leaks(target.project, spellings, limits)]
        for search in searches:
            try:
                yield from ((f"the key {leak.key} stands in {leak.where}", leak.fix) for leak in search)
            except DeployguardError as error:
                yield error.message, error.hint


_KEEP = "Keep the same key in two places that do not fail together, and read the second one back from there."


def _of_the_application(target: Target) -> tuple[list[tuple[str, tuple[Secret, ...]]], list[Problem]]:
    """The keys that it derives, by column; an application that does not start is told of by who starts it twice."""
    try:
        columns = target.discover().fields if target.application_parts is not None else ()
    except DeployguardError:
        return [], []
    try:
        return keys_of_application(target, columns), []
    except DeployguardError as error:
        return [], [(error.message, error.hint)]


def _parsed(target: Target, names: Sequence[str]) -> tuple[list[Secret], list[Problem]]:
    keys: list[Secret] = []
    problems: list[Problem] = []
    for name in names:
        try:
            keys.append(parse_key(target.secrets.get(name)))
        except DeployguardError as error:
            problems.append((error.message, error.hint))
    return keys, problems


def _closed_tokens(context: Context, notes: list[str]) -> Iterator[Problem]:
    """Tokens in the database that none of the environment's keys opens."""
    target = context.target
    if target.database_url is None or not target.keys:
        return
    try:
        fields = context.discover().fields if target.application_parts is not None else ()
        places = {(column.table, column.column) for column in fields if column.sealed_by == "keys"}
        with opened(context, read_only=True) as database:
            found, strange = try_tokens(database, target.keyring, places if fields else None)
    except DeployguardError as error:
        notes.append(f"no token was tried: {error.message}")
        return
    if strange:
        yield strange, FIND_THE_KEY
    elif found:
        notes.append(f"{found:,} tokens that are there already open")


def _starts(application: Application | None) -> Iterator[Problem]:
    """Two starts of the application: a key that is made up at each would lose everything at the next restart."""
    if application is None:
        return
    asked = {"do": "settings", "nonce": random.token_hex(32)}
    try:
        first, second = application.probe(asked), application.probe(asked)
    except DeployguardError as error:
        yield error.message, error.hint
        return
    for said in ("digests", "key_digests"):
        for name in sorted(first[said].keys() | second[said].keys()):
            if first[said].get(name) != second[said].get(name):
                yield (
                    f"{name} differs between two starts of the application: it is made up at each start",
                    f"Have the application read {name} from its environment and stop where it is not set.",
                )


def _pulse(context: Context) -> Callable[[int], None]:
    return lambda done: context.pulse(Progress("searching for copies of the key", done, unit="bytes"))


def _outcome(keys: list[JSON], problems: Sequence[Problem], notes: list[str]) -> Outcome:
    evidence = {"keys": keys, "notes": notes, "problems": [{"problem": what, "fix": fix} for what, fix in problems]}
    if problems:
        fixes = dict.fromkeys(fix for _, fix in problems)
        return Outcome("; ".join(what for what, _ in problems), "fail", " ".join(fixes), evidence)
    shown = ", ".join(f"{k['name']} {k['fingerprint']} ({k['source']})" for k in keys)
    return Outcome("; ".join([shown, *notes]), evidence=evidence)
