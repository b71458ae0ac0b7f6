"""The field-encryption keys: the newest seals, all of them open."""

import os
import time
from collections.abc import Sequence
from typing import Final, NamedTuple, final

from cryptography.fernet import Fernet, InvalidToken

from deployguard.errors import Refused
from deployguard.keys.bulk import BulkFernet, Faulty
from deployguard.keys.check import parse_key
from deployguard.keys.fingerprint import fingerprint
from deployguard.keys.tokens import has_token_form, token_forms, token_length
from deployguard.secret import Secret

__all__ = ["LOCKED", "Keyring", "Locked", "Opened", "has_token_form", "token_length"]

PLAIN = "DEPLOYGUARD_FERNET"
"""Environment variable; "plain" makes every token by `cryptography.fernet` itself, about five times slower."""


class Opened(NamedTuple):
    """What a token held, and which key opened it: 0 is the primary."""

    plaintext: bytes
    key: int


@final
class Locked:
    """A value with a token's form that no key opens."""


LOCKED: Final = Locked()


class Keyring:
    """One primary key, and older ones that only open."""

    def __init__(self, primary: Secret, older: Sequence[Secret] = ()) -> None:
        """Check every key.

        Raises:
            Refused: one is not a good key, or stands twice.
        """
        keys = [parse_key(primary), *map(parse_key, older)]
        self.fingerprints = tuple(fingerprint(key) for key in keys)
        if len(set(self.fingerprints)) != len(keys):
            raise Refused("the same key stands twice in the list of keys", hint="Remove one of them.")
        self._fernets = [Fernet(key.reveal()) for key in keys]
        self._bulk = [] if os.environ.get(PLAIN) == "plain" else [BulkFernet(key) for key in keys]

    @classmethod
    def from_secrets(cls, secrets: Sequence[Secret]) -> "Keyring":
        """A keyring of secrets, newest first."""
        return cls(secrets[0], secrets[1:])

    shortest = token_length(0)
    example = b"x" * 32

    def of(self, table: str, column: str) -> "Keyring":  # noqa: ARG002 - see `Sealers`
        """The same keys for every column."""
        return self

    def forms(self, values: Sequence[bytes]) -> list[bytes | None]:
        """See `token_forms`."""
        return token_forms(values)

    def sizes(self, plaintexts: Sequence[bytes]) -> list[int | None]:
        """Bytes of the token of each."""
        return [token_length(len(plaintext)) for plaintext in plaintexts]

    def seal(self, plaintext: bytes) -> bytes:
        """A token under the primary key, read back before it is given out.

        Raises:
            Refused: the token does not open to the same bytes. It is not to be written.
        """
        token = self._fernets[0].encrypt(plaintext)
        self._require(token, plaintext)
        return token

    def seal_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """Tokens under the primary key, each read back, in order.

        Raises:
            Refused: as for `seal`.
        """
        if not self._bulk or not plaintexts:
            return [self.seal(plaintext) for plaintext in plaintexts]
        try:
            tokens = self._bulk[0].seal(plaintexts, int(time.time()))
        except Faulty:
            raise _faulty() from None
        # one of each batch by the library, which shares no line with the way it was made
        self._require(tokens[-1], plaintexts[-1])
        return tokens

    def _require(self, token: bytes, plaintext: bytes) -> None:
        try:
            good = self._fernets[0].decrypt(token) == plaintext
        except InvalidToken:
            good = False
        if not good:
            raise _faulty()

    def open(self, token: bytes) -> Opened | None:
        """What a token holds; None when no key opens it."""
        for number, fernet in enumerate(self._fernets):
            try:
                return Opened(fernet.decrypt(token), number)
            except InvalidToken:
                continue
        return None

    def look(self, values: Sequence[bytes]) -> list[Opened | Locked | None]:
        """What each value is to these keys: opened, locked, or, where it has no token's form, None."""
        forms = token_forms(values)
        if not self._bulk:
            pairs = zip(values, forms, strict=True)
            return [None if form is None else self.open(value) or LOCKED for value, form in pairs]
        found: list[Opened | Locked | None] = [None if form is None else LOCKED for form in forms]
        closed = [(number, form) for number, form in enumerate(forms) if form is not None]
        for key, bulk in enumerate(self._bulk):
            plaintexts = bulk.open([form for _, form in closed])
            for (number, _), plaintext in zip(closed, plaintexts, strict=True):
                if plaintext is not None:
                    found[number] = Opened(plaintext, key)
            closed = [each for each, plaintext in zip(closed, plaintexts, strict=True) if plaintext is None]
        return found


def _faulty() -> Refused:
    return Refused(
        "a token did not open to what was sealed",
        hint="Do not go on on this machine: its memory or libraries are faulty.",
    )
