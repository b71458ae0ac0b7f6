"""The field-encryption keys: the newest seals, all of them open."""

import base64
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken

from deployguard.errors import Refused
from deployguard.keys.check import parse_key
from deployguard.keys.fingerprint import fingerprint
from deployguard.secret import Secret

_VERSION = 0x80
_SHORTEST = 1 + 8 + 16 + 16 + 32
_OVERHEAD = 1 + 8 + 16 + 32
_BLOCK = 16
# Fernet was published in 2013; a stamp before it, or years ahead, is not a token's
_EARLIEST = 1_300_000_000
_AHEAD = 10 * 365 * 86400


@dataclass(frozen=True)
class Opened:
    """What a token held, and which key opened it: 0 is the primary."""

    plaintext: bytes
    key: int


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

    @classmethod
    def from_secrets(cls, secrets: Sequence[Secret]) -> "Keyring":
        """A keyring of secrets, newest first."""
        return cls(secrets[0], secrets[1:])

    def seal(self, plaintext: bytes) -> bytes:
        """A token under the primary key, read back before it is given out.

        Raises:
            Refused: the token does not open to the same bytes. It is not to be written.
        """
        token = self._fernets[0].encrypt(plaintext)
        if self._fernets[0].decrypt(token) != plaintext:
            raise Refused(
                "a token did not open to what was sealed",
                hint="Do not go on on this machine: its memory or libraries are faulty.",
            )
        return token

    def seal_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """Tokens under the primary key, each read back, in order."""
        return [self.seal(plaintext) for plaintext in plaintexts]

    def open(self, token: bytes) -> Opened | None:
        """What a token holds; None when no key opens it."""
        for number, fernet in enumerate(self._fernets):
            try:
                return Opened(fernet.decrypt(token), number)
            except InvalidToken:
                continue
        return None

    def open_many(self, tokens: Sequence[bytes]) -> list[Opened | None]:
        """What each token holds, in order."""
        return [self.open(token) for token in tokens]


def token_length(plaintext: int) -> int:
    """Characters of the token of `plaintext` bytes. Source: Fernet spec, "Token Format"."""
    return 4 * -(-(_OVERHEAD + _BLOCK * (plaintext // _BLOCK + 1)) // 3)


def has_token_form(value: bytes) -> bool:
    """Whether bytes are built like a token, whatever key may open it.

    Canonical base64url, the version byte, whole cipher blocks and a stamp that a clock
    could have given: text that a person types does not pass by accident.
    """
    if len(value) % 4 or len(value) < token_length(0) or not value.startswith(b"gA"):
        return False
    try:
        raw = base64.b64decode(value, altchars=b"-_", validate=True)
    except ValueError:
        return False
    if raw[0] != _VERSION or len(raw) < _SHORTEST or (len(raw) - _OVERHEAD) % _BLOCK:
        return False
    return _EARLIEST <= token_time(value) <= time.time() + _AHEAD and base64.urlsafe_b64encode(raw) == value


def token_time(token: bytes) -> int:
    """When a token was made, in seconds since 1970, as it says itself."""
    return int(struct.unpack(">Q", base64.urlsafe_b64decode(token[:12])[1:9])[0])
