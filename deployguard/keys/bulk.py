"""Many Fernet tokens at a time, byte for byte what `cryptography.fernet` makes and reads.

The wall of row work is not the cipher but starting it: two objects, two contexts and a
keyed hash for each value. Here one AES-CBC pass runs over many values and the states of
HMAC are copied; base64 is written and read as one text. docs/decisions/0004-bulk-fernet.md
argues that the tokens are as strong; tests/keys/test_bulk.py holds them against the library.

Sources: github.com/fernet/spec; NIST SP 800-38A, 6.2 and appendix C (CBC, unpredictable IVs);
RFC 2104 (HMAC); RFC 5652, 6.3 (padding).
"""

import hashlib
import os
from base64 import urlsafe_b64decode
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Sequence
from hmac import compare_digest

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from deployguard.keys.tokens import EQUALS, PLAIN, ZEROS, portions
from deployguard.secret import Secret

_BLOCK = 16
_HASH_BLOCK = 64
_MAC = 32
_HEAD = 1 + 8
_VERSION = b"\x80"
_ZERO = bytes(_BLOCK)
# by the length of the text, or of the padding, in its last block
_PADDING = [bytes([_BLOCK - n]) * (_BLOCK - n) for n in range(_BLOCK)]
_PADDED = [b"", *(bytes([n]) * n for n in range(1, _BLOCK + 1))]
_URL = bytes.maketrans(b"+/", b"-_")


class Faulty(Exception):
    """A token was made that does not hold what it was made of: memory or a library is broken."""


class BulkFernet:
    """Seals and opens many values under one key."""

    def __init__(self, key: Secret) -> None:
        raw = urlsafe_b64decode(key.reveal())
        signing, encryption = raw[:_BLOCK], raw[_BLOCK:]
        padded = signing.ljust(_HASH_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        # which first block a pass begins with does not matter: see `_stream` and `_deciphered`
        self._cipher = Cipher(AES(encryption), CBC(_ZERO))

    def seal(self, plaintexts: Sequence[bytes], now: int) -> list[bytes]:
        """A token of each value, in order, each read back before it is given out.

        Args:
            plaintexts: of any length, empty ones too.
            now: seconds since 1970, for the tokens' stamps.

        Raises:
            Faulty: a token does not open to its value. None of them is to be used.
        """
        return [token for some in portions(plaintexts) for token in self._seal(some, now)]

    def _seal(self, plaintexts: Sequence[bytes], now: int) -> list[bytes]:
        head = _VERSION + now.to_bytes(8)
        sealed = self._cipher.encryptor().update(_stream(plaintexts))
        bodies = _bodies(sealed, plaintexts)
        macs = self._macs(bodies, head)
        tokens = _texts(_raw(head, bodies, macs), bodies)
        # back from the text: the same parts again, and then each part is proven
        if (
            a2b_base64(b"".join(tokens).translate(PLAIN)) != _raw(head, bodies, macs)
            or self._macs(bodies, head) != macs
            or self._deciphered(bodies) != list(plaintexts)
        ):
            raise Faulty
        return tokens

    def _macs(self, bodies: Iterable[bytes], head: bytes = b"") -> list[bytes]:
        """The signature of `head` and each body."""
        begun = self._inner.copy()
        begun.update(head)
        # the names are local since this is the innermost of all loops
        new_inner, new_outer, macs = begun.copy, self._outer.copy, []
        for body in bodies:
            inner, outer = new_inner(), new_outer()
            inner.update(body)
            outer.update(inner.digest())
            macs.append(outer.digest())
        return macs

    def open(self, raws: Sequence[bytes]) -> list[bytes | None]:
        """What each token holds; None where this key does not open it.

        Args:
            raws: tokens out of their base64, with the form that `token_forms` looks for.
        """
        return [plaintext for some in portions(raws) for plaintext in self._open(some)]

    def _open(self, raws: Sequence[bytes]) -> list[bytes | None]:
        macs, given = self._macs([raw[:-_MAC] for raw in raws]), [raw[-_MAC:] for raw in raws]
        if compare_digest(b"".join(macs), b"".join(given)):
            return self._deciphered([raw[_HEAD:-_MAC] for raw in raws])
        mine = list(map(compare_digest, macs, given))
        opened = iter(self._deciphered([raw[_HEAD:-_MAC] for raw, good in zip(raws, mine, strict=True) if good]))
        return [next(opened) if good else None for good in mine]

    def _deciphered(self, bodies: Sequence[bytes]) -> list[bytes | None]:
        """What each IV and text after it hold; None where the padding is none."""
        # each IV is deciphered too, to 16 bytes that mean nothing and are skipped
        stream, start, found = self._cipher.decryptor().update(b"".join(bodies)), 0, []
        for body in bodies:
            end = start + len(body)
            length = stream[end - 1]
            good = 0 < length <= _BLOCK and stream.endswith(_PADDED[length], start + _BLOCK, end)
            found.append(stream[start + _BLOCK : end - length] if good else None)
            start = end
        return found


def _stream(plaintexts: Sequence[bytes]) -> bytes:
    """For each value 16 random bytes and itself, all to be enciphered in one pass.

    The block before a value is the encryption of random bytes: random too, known to
    nobody before, and what CBC takes for the value's IV.
    """
    random = os.urandom(_BLOCK * len(plaintexts))
    return b"".join(
        [
            part
            for number, plaintext in enumerate(plaintexts)
            for part in (
                random[number * _BLOCK : (number + 1) * _BLOCK], plaintext, _PADDING[len(plaintext) % _BLOCK],
            )
        ]
    )  # fmt: skip


def _bodies(sealed: bytes, plaintexts: Sequence[bytes]) -> list[bytes]:
    """The IV and text of each value."""
    start, found = 0, []
    for plaintext in plaintexts:
        end = start + _BLOCK + len(plaintext) // _BLOCK * _BLOCK + _BLOCK
        found.append(sealed[start:end])
        start = end
    return found


def _raw(head: bytes, bodies: Sequence[bytes], macs: Sequence[bytes]) -> bytes:
    """All tokens' bytes, each token made a whole number of base64's groups of three."""
    parts: list[bytes] = []
    for body, mac in zip(bodies, macs, strict=True):
        parts += (head, body, mac, ZEROS[-(_HEAD + _MAC + len(body)) % 3])
    return b"".join(parts)


def _texts(raw: bytes, bodies: Sequence[bytes]) -> list[bytes]:
    text, start, found = b2a_base64(raw, newline=False).translate(_URL), 0, []
    for body in bodies:
        size = _HEAD + _MAC + len(body)
        more = -size % 3
        end = start + (size + more) // 3 * 4
        # a group that is not full ends in "=" where its zeros would stand
        found.append(text[start : end - more] + EQUALS[more])
        start = end
    return found
