"""`encryption.decrypt`: every token that a known key opens becomes its plaintext, and back."""

import time
from typing import ClassVar

from deployguard.rows.rewrite import decrypt, encrypt
from deployguard.steps.base import JSON, Context, Outcome
from deployguard.steps.encryption import Rewriting, recalled, remembered, rewritten, work


class EncryptionDecrypt(Rewriting):
    """Decrypt every row in place: for leaving encryption behind.

    Undo: encrypt every row again, under the primary key.
    """

    uses: ClassVar[str] = "encryption.decrypt"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    undone_by_restore: ClassVar[bool] = True
    example: ClassVar[str] = "- id: decrypt\n  uses: encryption.decrypt"

    def capture(self, context: Context) -> JSON:
        """The columns, as the application declares them now."""
        return remembered(context.discover().fields)

    def execute(self, context: Context) -> Outcome:
        """Rewrite until a whole pass finds no token."""
        begun = context.target.clock.monotonic()
        with work(context, columns=recalled(context.before), how=self) as w:
            done = decrypt(
                w.database, w.columns, w.keyring, operation=f"{context.run}/{context.step}",
                fence=context.fence, pulse=w.pulse, crew=w.crew, batch=self.size(), some=self.some(),
            )  # fmt: skip
        return rewritten("decrypted", done, context.target.clock.monotonic() - begun)

    def compensate(self, context: Context) -> Outcome:
        """Encrypt again."""
        begun = context.target.clock.monotonic()
        with work(context, columns=recalled(context.before), how=self) as w:
            done = encrypt(
                w.database, w.columns, w.keyring, operation=f"{context.run}/{context.step}/undo",
                fence=context.fence, pulse=w.pulse, since=time.time(), crew=w.crew, batch=self.size(),
                some=self.some(),
            )  # fmt: skip
        return rewritten("encrypted", done, context.target.clock.monotonic() - begun)
