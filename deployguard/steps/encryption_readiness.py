"""`encryption.readiness`: what would go wrong, asked before anything is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from deployguard.errors import Refused
from deployguard.keys.sealer import Sealers
from deployguard.rows.discover import handshake
from deployguard.rows.tables import tables_of
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.try_tokens import FIND_THE_KEY, try_tokens
from deployguard.rows.verify import STRANGE, verify
from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.encryption import Work, counts, described, elsewhere_told, opened, work


class EncryptionReadiness(Check):
    """Check columns, keys and application against each other, on every row that is there.

    Widths for every value's token; unique and indexed columns, which a randomised token
    defeats; tokens that no key opens; and the handshake: the application opens what we
    seal, and we open what it seals. While the application encrypts nothing yet, tables
    are looked through for tokens, and those must open.
    """

    uses: ClassVar[str] = "encryption.readiness"
    example: ClassVar[str] = "- id: readiness\n  uses: encryption.readiness\n  with: { required: true }"

    required: bool = False
    """Whether it is a failure that the application encrypts no column."""
    allow_unique: str = ""
    """Why a unique constraint on an encrypted column may stay, although it will hold nothing unique any more."""

    def execute(self, context: Context) -> Outcome:
        """Ask the application, then the database, then both."""
        columns = context.discover().fields
        if not columns:
            return self._not_yet(context)
        with work(context, columns=columns) as desk:
            findings = [*self._shapes(desk), *self._values(desk)]
            counted = next((f.columns for f in findings if f.columns), [])
            findings += _handshake(context, columns, desk.keyring)
        if elsewhere := elsewhere_told(context):
            findings.append(_Finding("warn", elsewhere, "Deploy to that database too, in an environment of its own."))
        return _outcome(findings, {"columns": counted, "fields": len(columns), "handshake": _shook(findings)})

    def _not_yet(self, context: Context) -> Outcome:
        if self.required:
            return Outcome(
                f"the application in {context.target.directory} encrypts no column",
                status="fail",
                hint="Bring the code that encrypts, and its dependencies, before this step.",
            )
        with opened(context, read_only=True) as database:
            found, strange = try_tokens(database, context.target.keyring)
        if strange:
            return Outcome(strange, status="fail", hint=FIND_THE_KEY)
        there = f"; {found:,} tokens that are there already open" if found else ""
        return Outcome(f"the code that is there encrypts nothing yet{there}", evidence={"tokens": found})

    def _shapes(self, desk: Work) -> Iterator["_Finding"]:
        for table in tables_of(desk.database, desk.columns):
            names = set(table.table.columns)
            for column in sorted(names & table.shape.unique):
                status = "warn" if self.allow_unique else "fail"
                yield _Finding(
                    status, f"{table.table.name}.{column} is unique: tokens of equal values differ"
                    + (f" (allowed: {self.allow_unique})" if self.allow_unique else ""),
                    "Drop the constraint in the migration, or say why it may stay: allow_unique:.",
                )  # fmt: skip
            for column in sorted((names & table.shape.indexed) - table.shape.unique):
                yield _Finding(
                    "warn", f"{table.table.name}.{column} has an index that finds nothing any more",
                    "Drop the index in the migration: look rows up by another column.",
                )  # fmt: skip
            for trigger in table.shape.triggers:
                yield _Finding("warn", f"{table.table.name}: the trigger {trigger} fires for each rewritten row", "")

    def _values(self, desk: Work) -> Iterator["_Finding"]:
        found = verify(desk.database, desk.columns, desk.keyring, pulse=desk.pulse, crew=desk.crew)
        yield _Finding("pass", "", "", counts(found.columns))
        for sentence in described(found, "unknown"):
            yield _Finding("fail", sentence, "The key is not the one these tokens were made with, or they are damaged.")
        for sentence in described(found, *STRANGE):
            yield _Finding("fail" if self.required else "warn", sentence, "")
        for sentence in described(found, "too wide"):
            yield _Finding(
                "fail", sentence, "Give the column a larger max_length and migrate. "
                "If a migration of this deployment does that, let this check run after it, as a step.",
            )  # fmt: skip
        for sentence in described(found, "nested"):
            yield _Finding("fail", sentence, "")


@dataclass(frozen=True)
class _Finding:
    status: str
    sentence: str
    hint: str
    columns: list[dict[str, object]] | None = None


def _handshake(context: Context, columns: Sequence[EncryptedColumn], sealers: Sealers) -> Iterator[_Finding]:
    written_with: set[int] = set()

    def seal(column: EncryptedColumn, plaintext: bytes) -> bytes:
        return sealers.of(column.table, column.column).seal_many([plaintext])[0]

    def open_token(column: EncryptedColumn, token: bytes) -> bytes:
        opened_token = sealers.of(column.table, column.column).open(token)
        if opened_token is None:
            raise Refused("no key opens the token")
        if column.sealed_by == "keys":
            written_with.add(opened_token.key)
        return opened_token.plaintext

    shaken = handshake(context.target.application, columns, seal, open_token)
    for problem in shaken.problems:
        yield _Finding("fail", problem, "Give deployguard and the application the same key: secrets: and django: env:.")
    if shaken.ok:
        yield _Finding("shaken", "", "")
    if written_with - {0}:
        names = ", ".join(context.target.keys[key] for key in sorted(written_with - {0}))
        yield _Finding(
            "fail", f"the application writes with an older key ({names}), not with {context.target.keys[0]}",
            "Put the newest key first in the application's list: django: env:.",
        )  # fmt: skip
    if not shaken.live_safe:
        yield _Finding(
            "warn", "the application cannot read plaintext in an encrypted column",
            "Stop the application before this change, and start it after: a maintenance window is needed.",
        )  # fmt: skip


def _shook(findings: list[_Finding]) -> bool:
    return any(f.status == "shaken" for f in findings)


def _outcome(findings: list[_Finding], evidence: dict[str, object]) -> Outcome:
    bad = [f for f in findings if f.status == "fail"]
    doubtful = [f for f in findings if f.status == "warn"]
    shown = bad or doubtful
    evidence = {**evidence, "warnings": [f.sentence for f in doubtful]}
    good = f"{evidence['fields']} columns: every value fits, every token opens"
    summary = "; ".join(f.sentence for f in shown) or good
    hint = next((f.hint for f in shown if f.hint), "")
    return Outcome(summary, "fail" if bad else "warn" if doubtful else "pass", hint, evidence)
