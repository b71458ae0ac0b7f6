"""`encryption.decrypt`: every token that a known key opens becomes its plaintext, and back."""

import time
from functools import partial
from typing import ClassVar

from deployguard.rows.rewrite import decrypt, encrypt
from deployguard.steps.base import Context, Outcome
from deployguard.steps.encryption import Reforming


class EncryptionDecrypt(Reforming):
    """Decrypt every row in place: for leaving encryption behind.

    Undo: encrypt every row again, under the primary key.
    """

    uses: ClassVar[str] = "encryption.decrypt"
    example: ClassVar[str] = "- id: decrypt\n  uses: encryption.decrypt"

    def execute(self, context: Context) -> Outcome:
        """Rewrite until a whole pass finds no token."""
        return self.carry_out(context, decrypt, "decrypted")

    def compensate(self, context: Context) -> Outcome:
        """Encrypt again."""
        return self.carry_out(context, partial(encrypt, since=time.time()), "encrypted", stage="undo")
