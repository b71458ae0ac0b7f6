"""Many Fernet tokens at a time, byte for byte what `cryptography.fernet` makes and reads.

The wall of row work is not the cipher but starting it: two objects, two contexts and a
keyed hash for each value. Here one AES-CBC pass runs over many values and the state of
HMAC is copied; base64 is written and read as one text. docs/decisions/0004-bulk-fernet.md
argues that the tokens are as strong; tests/keys/test_bulk.py holds them against the library.

Sources: github.com/fernet/spec; NIST SP 800-38A, 6.2 and appendix C (CBC, unpredictable IVs);
RFC 2104 (HMAC); RFC 5652, 6.3 (padding).
"""

import os
from binascii import Error
from collections.abc import Iterable, Sequence
from hmac import compare_digest
from itertools import compress

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from pybase64 import urlsafe_b64decode, urlsafe_b64encode

from deployguard.keys.tokens import AT_ONCE, ZEROS, alike, ends_alike, from_text
from deployguard.portions import portions
from deployguard.secret import Secret
from deployguard.woven import cut, woven

_BLOCK = 16
_MAC = 32
_HEAD = 1 + 8
_VERSION = b"\x80"
_ZERO = bytes(_BLOCK)
# by the length of the text, or of the padding, in its last block
_PADDING = [bytes([_BLOCK - n]) * (_BLOCK - n) for n in range(_BLOCK)]
_PADDED = [b"", *(bytes([n]) * n for n in range(1, _BLOCK + 1))]


class Faulty(Exception):
    """A token was made that does not hold what it was made of: memory or a library is broken."""


class BulkFernet:
    """Seals and opens many values under one key."""

    def __init__(self, key: Secret) -> None:
        raw = urlsafe_b64decode(key.reveal())
        signing, encryption = raw[:_BLOCK], raw[_BLOCK:]
        self._hmac = HMAC(signing, SHA256())
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
        head = _VERSION + now.to_bytes(8)
        return [
            token
            for some in portions(plaintexts, AT_ONCE)
            for token in alike(some, [len(each) // _BLOCK for each in some], lambda values: self._seal(values, head))
        ]

    def _seal(self, plaintexts: Sequence[bytes], head: bytes) -> list[bytes]:
        """Tokens of values that need the same number of blocks."""
        texts = [plaintext + _PADDING[len(plaintext) % _BLOCK] for plaintext in plaintexts]
        body = _BLOCK + len(texts[0])
        bodies = cut(self._cipher.encryptor().update(_stream(texts)), f"{body}s")
        tokens = _tokens(_raw(head, bodies, self._macs(bodies, head)), _HEAD + body + _MAC)
        self._require(tokens, texts, head, body)
        return tokens

    def _require(self, tokens: Sequence[bytes], texts: Sequence[bytes], head: bytes, body: int) -> None:
        """Back from the text: each part is proven."""
        many, size = len(texts), _HEAD + body + _MAC
        over = -size % 3
        text, every = b"".join(tokens), size + over
        read, signs = _read(text), every // 3 * 4
        if len(read) != many * every or not ends_alike(text, signs, over):
            raise Faulty
        bodies = cut(read, f"{_HEAD}x{body}s{_MAC + over}x")
        # what is the same in all tokens: looked at a place at a time
        fixed = [*enumerate(head), *((size + place, 0) for place in range(over))]
        if (
            any(read[place::every] != bytes([byte]) * many for place, byte in fixed)
            or self._macs(bodies, head) != cut(read, f"{_HEAD + body}x{_MAC}s{over}x")
            or self._texts(bodies) != texts
        ):
            raise Faulty

    def _macs(self, bodies: Iterable[bytes], head: bytes = b"") -> list[bytes]:
        """The signature of `head` and each body."""
        begun = self._hmac.copy()
        begun.update(head)
        # the names are local since this is the innermost of all loops
        new, macs = begun.copy, []
        for body in bodies:
            mac = new()
            mac.update(body)
            macs.append(mac.finalize())
        return macs

    def _texts(self, bodies: Sequence[bytes]) -> list[bytes]:
        """What each IV and the text after it stand for, padding included; all are of one length."""
        # each IV is deciphered too, to 16 bytes that mean nothing and are skipped
        stream = self._cipher.decryptor().update(b"".join(bodies))
        return cut(stream, f"{_BLOCK}x{len(bodies[0]) - _BLOCK}s")

    def open(self, raws: Sequence[bytes]) -> list[bytes | None]:
        """What each token holds; None where this key does not open it.

        Args:
            raws: tokens out of their base64, with the form that `token_forms` looks for.
        """
        return [
            plaintext for some in portions(raws, AT_ONCE) for plaintext in alike(some, [*map(len, some)], self._open)
        ]

    def _open(self, raws: Sequence[bytes]) -> list[bytes | None]:
        """What tokens of one length hold."""
        size, joined = len(raws[0]), b"".join(raws)
        signed, given = cut(joined, f"{size - _MAC}s{_MAC}x"), cut(joined, f"{size - _MAC}x{_MAC}s")
        bodies, macs = cut(joined, f"{_HEAD}x{size - _HEAD - _MAC}s{_MAC}x"), self._macs(signed)
        if compare_digest(b"".join(macs), b"".join(given)):
            return self._deciphered(bodies)
        mine = [*map(compare_digest, macs, given)]
        opened = iter(self._deciphered([*compress(bodies, mine)]))
        return [next(opened) if good else None for good in mine]

    def _deciphered(self, bodies: Sequence[bytes]) -> list[bytes | None]:
        """What each IV and the text after it hold, all of one length; None where the padding is none."""
        return [
            text[:-last] if 0 < (last := text[-1]) <= _BLOCK and text.endswith(_PADDED[last]) else None
            for text in (self._texts(bodies) if bodies else ())
        ]


def _stream(texts: Sequence[bytes]) -> bytes:
    """For each padded value 16 random bytes and itself, all to be enciphered in one pass.

    The block before a value is the encryption of random bytes: random too, known to
    nobody before, and what CBC takes for the value's IV.
    """
    return b"".join(woven([cut(os.urandom(_BLOCK * len(texts)), f"{_BLOCK}s"), texts]))


def _raw(head: bytes, bodies: Sequence[bytes], macs: Sequence[bytes]) -> bytes:
    """All tokens' bytes, each token made a whole number of base64's groups of three."""
    many, over = len(bodies), -(_HEAD + len(bodies[0]) + _MAC) % 3
    return b"".join(woven([[head] * many, bodies, macs, [ZEROS[over]] * many]))


def _tokens(raw: bytes, size: int) -> list[bytes]:
    """Each token's text, of so many bytes."""
    over, text = -size % 3, bytearray(urlsafe_b64encode(raw))
    signs = (size + over) // 3 * 4
    # a group that is not full ends in "=" where its zeros would stand
    for place in range(signs - over, signs):
        text[place::signs] = b"=" * (len(text) // signs)
    return cut(text, f"{signs}s")


def _read(text: bytes) -> bytes:
    """What `_raw` made, out of the tokens' text; nothing where that is no base64."""
    try:
        return from_text(text)
    except Error:
        return b""
