"""`encryption.rotate`: every token under the newest key, and back under the one before."""

from typing import ClassVar

from deployguard.errors import Refused
from deployguard.rows.rewrite import rotate
from deployguard.rows.verify import verify
from deployguard.steps.base import Context, Outcome, Preview
from deployguard.steps.encryption import Rewriting, counts, locked, work


class EncryptionRotate(Rewriting):
    """Make every token of an older key a token of the newest, beside the running application.

    The application must read with all keys of the list already: give it the new list first.

    Undo: every token under the key that was the newest before.
    """

    uses: ClassVar[str] = "encryption.rotate"
    example: ClassVar[str] = "- id: rotate\n  uses: encryption.rotate"

    def preview(self, context: Context) -> Preview:
        """How many tokens are under an older key."""
        with work(context) as w:
            found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew, some=self.some())
        older = sum(c.older for c in found.columns)
        tokens = older + sum(c.primary for c in found.columns)
        return Preview(
            "would run" if older else "already done", f"{older:,} of {tokens:,} tokens are under an older key",
            rows=older, evidence={"columns": counts(found.columns)},
        )  # fmt: skip

    def execute(self, context: Context) -> Outcome:
        """Rewrite until a whole pass finds no token of an older key."""
        return self.carry_out(context, rotate, "renewed", stage="do")

    def obstacle(self, context: Context) -> str:
        """Whether the keys are there and open what stands in the columns."""
        return locked(context)

    def compensate(self, context: Context) -> Outcome:
        """Rewrite with the key that was the newest before in first place."""
        target = context.target
        newest, *older = (target.secrets.get(name) for name in target.keys)
        if not older:
            raise Refused(
                "there is only one key, so there is none to go back to",
                hint="Add the former key to encryption: keys: and run 'deployguard rollback' again.",
            )
        keys = (*older, newest)
        return self.carry_out(context, rotate, "put back under the former key", stage="undo", keys=keys)
