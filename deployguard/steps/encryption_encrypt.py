"""`encryption.encrypt`: every plaintext of the encrypted columns becomes a token, and back."""

from contextlib import closing
from typing import ClassVar

from deployguard.rows.rewrite import decrypt, encrypt
from deployguard.steps.base import JSON, Context, Outcome, Preview
from deployguard.steps.encryption import Rewriting, locked, recalled, remembered, rewritten, work
from deployguard.steps.encryption_plan import foreseen


class EncryptionEncrypt(Rewriting):
    """Encrypt every row in place, in batches, beside the running application.

    Undo: decrypt what this step encrypted, byte for byte. Tokens that were there before
    the run stay tokens, as far as nobody has written to them since.
    """

    uses: ClassVar[str] = "encryption.encrypt"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    undone_by_restore: ClassVar[bool] = True
    example: ClassVar[str] = "- id: encrypt\n  uses: encryption.encrypt\n  retry: { attempts: 5 }"

    def preview(self, context: Context) -> Preview:
        """How many values, bytes and seconds."""
        return foreseen(context, self.some())

    def capture(self, context: Context) -> JSON:
        """The columns: when the undo comes last, the code that declares them is gone."""
        return remembered(context.discover().fields)

    def execute(self, context: Context) -> Outcome:
        """Rewrite until a whole pass finds nothing to do."""
        begun = context.target.clock.monotonic()
        with work(context, columns=recalled(context.before), how=self) as w:
            done = encrypt(
                w.database, w.columns, w.keyring, operation=_name(context), fence=context.fence, pulse=w.pulse,
                since=context.began, crew=w.crew, batch=self.size(), some=self.some(),
            )  # fmt: skip
        return rewritten("encrypted", done, context.target.clock.monotonic() - begun)

    def obstacle(self, context: Context) -> str:
        """Whether the keys are there and open what stands in the columns."""
        return locked(context)

    def compensate(self, context: Context) -> Outcome:
        """Rewrite back until a whole pass finds nothing to do."""
        return self._back(context, "undo")

    def settle(self, context: Context) -> Outcome:
        """Open what the outgoing code encrypted after the way back had passed, and leave nothing of ours behind."""
        outcome = self._back(context, "settle")
        with closing(context.target.connect()) as database:
            # another run's list of what it must leave is still needed for that run's own way back
            if all(name.startswith(f"{context.run}/") for name in database.operations()):
                database.forget()
        return outcome

    def _back(self, context: Context, stage: str) -> Outcome:
        begun = context.target.clock.monotonic()
        with work(context, columns=recalled(context.before), how=self) as w:
            done = decrypt(
                w.database, w.columns, w.keyring, operation=f"{_name(context)}/{stage}", fence=context.fence,
                pulse=w.pulse, undo_of=_name(context), since=context.began, crew=w.crew, batch=self.size(),
                some=self.some(),
            )  # fmt: skip
        return rewritten("decrypted", done, context.target.clock.monotonic() - begun)


def _name(context: Context) -> str:
    return f"{context.run}/{context.step}"
