"""Many Fernet tokens at a time, byte for byte what `cryptography.fernet` makes and reads.

The wall of row work is not the cipher but starting it: two objects, two contexts and a
keyed hash for each value. Here one AES-CBC pass runs over many values and the states of
HMAC are copied. docs/decisions/0004-bulk-fernet.md argues that the tokens are as strong;
tests/keys/test_bulk.py holds them against the library.

Sources: github.com/fernet/spec; NIST SP 800-38A, 6.2 and appendix C (CBC, unpredictable IVs);
RFC 2104 (HMAC); RFC 5652, 6.3 (padding).
"""

import hashlib
import os
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from hmac import compare_digest

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from deployguard.secret import Secret

_BLOCK = 16
_HASH_BLOCK = 64
_MAC = 32
_IV = 1 + 8
_VERSION = b"\x80"
_ZERO = bytes(_BLOCK)
# by the length of the text, or of the padding, in its last block
_PADDING = [bytes([_BLOCK - n]) * (_BLOCK - n) for n in range(_BLOCK)]
_PADDED = [b"", *(bytes([n]) * n for n in range(1, _BLOCK + 1))]
_URL = bytes.maketrans(b"+/", b"-_")
_AT_ONCE = 1 << 20
"""Bytes worked on at a time: memory stays flat, whatever the values' size."""


class BulkFernet:
    """Seals and opens many values under one key."""

    def __init__(self, key: Secret) -> None:
        raw = urlsafe_b64decode(key.reveal())
        signing, encryption = raw[:_BLOCK], raw[_BLOCK:]
        padded = signing.ljust(_HASH_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        # which first block a pass begins with does not matter: see `_encrypted` and `open`
        self._cipher = Cipher(AES(encryption), CBC(_ZERO))

    def seal(self, plaintexts: Sequence[bytes], now: int) -> list[bytes]:
        """A token of each value, in order.

        Args:
            plaintexts: of any length, empty ones too.
            now: seconds since 1970, for the tokens' stamps.
        """
        return [token for some in _portions(plaintexts) for token in self._seal(some, now)]

    def _seal(self, plaintexts: Sequence[bytes], now: int) -> list[bytes]:
        head = _VERSION + now.to_bytes(8)
        stream, start, bodies = self._encrypted(plaintexts), 0, []
        for plaintext in plaintexts:
            end = start + _BLOCK + len(plaintext) // _BLOCK * _BLOCK + _BLOCK
            bodies.append(head + stream[start:end])
            start = end
        lines = [b2a_base64(body + mac) for body, mac in zip(bodies, self._macs(bodies), strict=True)]
        return b"".join(lines).translate(_URL).split(b"\n")[:-1]

    def _encrypted(self, plaintexts: Sequence[bytes]) -> bytes:
        """For each value 16 random bytes and itself, all in one pass.

        The block before a value is the encryption of random bytes: random too, known to
        nobody before, and what CBC takes for the value's IV.
        """
        random = os.urandom(_BLOCK * len(plaintexts))
        parts: list[bytes] = []
        for number, plaintext in enumerate(plaintexts):
            parts += (
                random[number * _BLOCK : (number + 1) * _BLOCK],
                plaintext,
                _PADDING[len(plaintext) % _BLOCK],
            )
        return self._cipher.encryptor().update(b"".join(parts))

    def _macs(self, bodies: Sequence[bytes]) -> list[bytes]:
        # the names are local since this is the innermost of all loops
        new_inner, new_outer, macs = self._inner.copy, self._outer.copy, []
        for body in bodies:
            inner, outer = new_inner(), new_outer()
            inner.update(body)
            outer.update(inner.digest())
            macs.append(outer.digest())
        return macs

    def open(self, raws: Sequence[bytes]) -> list[bytes | None]:
        """What each token holds; None where this key does not open it.

        Args:
            raws: tokens out of their base64, with the form that `token_bytes` looks for.
        """
        return [plaintext for some in _portions(raws) for plaintext in self._open(some)]

    def _open(self, raws: Sequence[bytes]) -> list[bytes | None]:
        macs = self._macs([raw[:-_MAC] for raw in raws])
        mine = [compare_digest(mac, raw[-_MAC:]) for raw, mac in zip(raws, macs, strict=True)]
        bodies = [raw[_IV:-_MAC] for raw, good in zip(raws, mine, strict=True) if good]
        # each IV is deciphered too, to 16 bytes that mean nothing and are skipped
        stream, start = self._cipher.decryptor().update(b"".join(bodies)), 0
        found: list[bytes | None] = []
        sizes = iter(bodies)
        for good in mine:
            if not good:
                found.append(None)
                continue
            end = start + len(next(sizes))
            found.append(_unpadded(stream[start + _BLOCK : end]))
            start = end
        return found


def _unpadded(text: bytes) -> bytes | None:
    length = text[-1]
    return text[:-length] if 1 <= length <= _BLOCK and text.endswith(_PADDED[length]) else None


def _portions(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start = size = 0
    for number, value in enumerate(values):
        size += len(value)
        if size > _AT_ONCE:
            yield values[start : number + 1]
            start, size = number + 1, 0
    if start < len(values):
        yield values[start:]
