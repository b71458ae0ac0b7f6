"""The outer form of a Fernet token: what can be known without a key. Source: github.com/fernet/spec, "Token Format"."""

import time
from binascii import Error, a2b_base64
from collections.abc import Sequence

STAMP = slice(1, 9)
_HEAD = 1 + 8 + 16
_MAC = 32
_BLOCK = 16
_SHORTEST = _HEAD + _BLOCK + _MAC
# Fernet was published in 2013; a stamp before it, or years ahead, is not a token's
_EARLIEST = 1_300_000_000
_AHEAD = 10 * 365 * 86400
# from the alphabet of URLs to the plain one, whose own two characters are errors here
_PLAIN = bytes.maketrans(b"-_+/", b"+/!!")
# the last character before one or two "=" stands for bits that are not all used: the others are zero
_LAST = {0: None, 1: frozenset(b"AEIMQUYcgkosw048"), 2: frozenset(b"AQgw")}


def token_length(plaintext: int) -> int:
    """Characters of the token of `plaintext` bytes."""
    return 4 * -(-(_HEAD + _MAC + _BLOCK * (plaintext // _BLOCK + 1)) // 3)


_SHORTEST_TEXT = token_length(0)


def token_bytes(value: bytes) -> bytes | None:
    """A token's bytes; None for anything that is not built like one, whatever key may open it.

    Canonical base64url, the version byte, whole cipher blocks and a stamp that a clock
    could have given: text that a person types does not pass by accident.
    """
    # "gA" is the version byte 0x80 before a stamp of this age of the world
    if not value.startswith(b"gA") or len(value) & 3 or len(value) < _SHORTEST_TEXT:
        return None
    try:
        raw = a2b_base64(value.translate(_PLAIN), strict_mode=True)
    except Error:
        return None
    ends = _LAST[-len(raw) % 3]
    if (len(raw) - _SHORTEST) % _BLOCK or (ends and value[-1 - -len(raw) % 3] not in ends):
        return None
    return raw if _EARLIEST <= int.from_bytes(raw[STAMP]) <= time.time() + _AHEAD else None


def raw_bytes(tokens: Sequence[bytes]) -> list[bytes]:
    """The bytes of tokens that were made here, unchecked."""
    # one translation for all: a newline is in neither alphabet
    return [a2b_base64(line) for line in b"\n".join(tokens).translate(_PLAIN).split(b"\n")] if tokens else []


def has_token_form(value: bytes) -> bool:
    """Whether bytes are built like a token."""
    return token_bytes(value) is not None


def token_time(token: bytes) -> int:
    """When a token was made, in seconds since 1970, as it says itself."""
    return int.from_bytes(a2b_base64(token[:12].translate(_PLAIN))[STAMP])
