"""`encryption.encrypt`: every plaintext of the encrypted columns becomes a token, and back."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import ClassVar

from deployguard.errors import StepFailed
from deployguard.rows.rewrite import decrypt, encrypt
from deployguard.rows.target import EncryptedColumn
from deployguard.steps.base import Context, Outcome, Preview
from deployguard.steps.column_keys import keys_gone
from deployguard.steps.encryption import Reforming, locked, operation_of, recalled, tokens_left
from deployguard.steps.encryption_plan import foreseen


class EncryptionEncrypt(Reforming):
    """Encrypt every row in place, in batches, beside the running application.

    Undo: decrypt what this step encrypted, byte for byte. Tokens that were there before
    the run stay tokens, as far as nobody has written to them since.
    """

    uses: ClassVar[str] = "encryption.encrypt"
    example: ClassVar[str] = "- id: encrypt\n  uses: encryption.encrypt\n  retry: { attempts: 5 }"

    def preview(self, context: Context) -> Preview:
        """How many values, bytes and seconds."""
        return foreseen(context, self.some())

    def execute(self, context: Context) -> Outcome:
        """Rewrite until a whole pass finds nothing to do."""
        return self.carry_out(context, partial(encrypt, since=context.began), "encrypted")

    def obstacle(self, context: Context) -> str:
        """Whether the keys are there and open what stands in the columns."""
        return locked(context)

    def compensate(self, context: Context) -> Outcome:
        """Rewrite back until a whole pass finds nothing to do."""
        return self._back(context, "undo")

    def settle(self, context: Context) -> Outcome:
        """Open what the outgoing code encrypted after the way back had passed, and leave nothing of ours behind."""
        columns = recalled(context.before)
        lost = keys_gone(context.target, columns)
        there = tuple(column for column in columns if column not in lost)
        if left := tokens_left(context, lost):
            raise StepFailed(
                f"tokens that the outgoing code wrote are left in {', '.join(left)}, and the code that derives or knows"
                " their keys is gone",
                hint="Bring that code back for as long as 'deployguard data decrypt' takes.",
            )
        outcome = self._back(context, "settle", there) if there or not columns else Outcome("no token is left")
        with closing(context.target.connect()) as database:
            # another run's list of what it must leave is still needed for that run's own way back
            if all(name.startswith(f"{context.run}/") for name in database.operations()):
                database.forget()
        return outcome

    def _back(self, context: Context, stage: str, columns: Sequence[EncryptedColumn] = ()) -> Outcome:
        back = partial(decrypt, undo_of=operation_of(context), since=context.began)
        return self.carry_out(context, back, "decrypted", stage=stage, columns=columns)
