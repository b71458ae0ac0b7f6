"""`encryption.rotate`: every token under the newest key, and back under the one before."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from deployguard.errors import Refused
from deployguard.rows.rewrite import rotate
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import verify
from deployguard.steps.base import Context, Outcome, Preview
from deployguard.steps.encryption import Rewriting, counts, locked, recalled, work


class EncryptionRotate(Rewriting):
    """Make every token of an older key a token of the newest, beside the running application.

    The application must read with all keys of the list already: give it the new list first.

    Undo: every token under the key that was the newest before.
    """

    uses: ClassVar[str] = "encryption.rotate"
    example: ClassVar[str] = "- id: rotate\n  uses: encryption.rotate"

    def preview(self, context: Context) -> Preview:
        """How many tokens are under an older key."""
        columns = context.discover().fields
        with work(context, columns=_rotating(columns)) as w:
            found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew, some=self.some())
        older = sum(c.older for c in found.columns)
        tokens = older + sum(c.primary for c in found.columns)
        return Preview(
            "would run" if older else "already done", f"{older:,} of {tokens:,} tokens are under an older key",
            rows=older, evidence={"columns": counts(found.columns)},
        )  # fmt: skip

    def execute(self, context: Context) -> Outcome:
        """Rewrite until a whole pass finds no token of an older key."""
        columns = recalled(context.before)
        outcome = self.carry_out(context, rotate, "renewed", stage="do", columns=_rotating(columns))
        alone = [c.place for c in columns if c.sealed_by == "application"]
        if not alone:
            return outcome
        return replace(
            outcome,
            summary=f"{outcome.summary}; left as they are: {', '.join(alone)}, which only the application seals",
        )

    def obstacle(self, context: Context) -> str:
        """Whether the keys are there and open what stands in the columns."""
        return locked(context)

    def compensate(self, context: Context) -> Outcome:
        """Rewrite with the key that was the newest before in first place."""
        columns = _rotating(recalled(context.before) or context.discover().fields)
        rings = [len(context.target.keys) if c.sealed_by == "keys" else c.keys for c in columns]
        if max(rings, default=0) < 2:  # noqa: PLR2004 - the new one and the one before
            raise Refused(
                "there is only one key, so there is none to go back to",
                hint="Add the former key to encryption: keys: and run 'deployguard rollback' again.",
            )
        return self.carry_out(
            context, rotate, "put back under the former key", stage="undo", back=True, columns=columns
        )


def _rotating(columns: Sequence[EncryptedColumn]) -> tuple[EncryptedColumn, ...]:
    """Those whose keys we hold: of the others nobody can tell which key a token is under."""
    rotating = tuple(column for column in columns if column.sealed_by != "application")
    if columns and not rotating:
        raise Refused(
            "only the application seals and opens the encrypted columns, and it does not say under which key",
            hint="Decrypt with the old key and encrypt with the new one in a maintenance window.",
        )
    return rotating
