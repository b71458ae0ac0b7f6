"""The outer form of a Fernet token: what can be known without a key. Source: github.com/fernet/spec, "Token Format"."""

import time
from binascii import a2b_base64
from collections.abc import Iterator, Sequence

STAMP = slice(1, 9)
_HEAD = 1 + 8 + 16
_MAC = 32
_BLOCK = 16
_SHORTEST = _HEAD + _BLOCK + _MAC
# Fernet was published in 2013; a stamp before it, or years ahead, is not a token's
_EARLIEST = 1_300_000_000
_AHEAD = 10 * 365 * 86400
PLAIN = bytes.maketrans(b"-_=", b"+/A")
"""From the alphabet of URLs to the plain one, what stands for missing bytes to what stands for zeros."""
EQUALS = (b"", b"=", b"==")
ZEROS = (b"", b"\0", b"\0\0")
"""By how many bytes the last group of three lacks: how it ends as text, and what `PLAIN` makes of that."""
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
_AT_ONCE = 1 << 20


def token_length(plaintext: int) -> int:
    """Characters of the token of `plaintext` bytes."""
    return 4 * -(-(_HEAD + _MAC + _BLOCK * (plaintext // _BLOCK + 1)) // 3)


_SHORTEST_TEXT = token_length(0)


def portions(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Values in lists of about a mebibyte: memory stays flat, whatever their size."""
    start = size = 0
    for number, value in enumerate(values):
        size += len(value)
        if size > _AT_ONCE:
            yield values[start : number + 1]
            start, size = number + 1, 0
    if start < len(values):
        yield values[start:]


def token_forms(values: Sequence[bytes]) -> list[bytes | None]:
    """Each token's bytes; None for anything that is not built like one, whatever key may open it.

    Canonical base64url, the version byte, whole cipher blocks and a stamp that a clock
    could have given: text that a person types does not pass by accident.
    """
    return [raw for some in portions(values) for raw in _forms(some)]


def _forms(values: Sequence[bytes]) -> list[bytes | None]:
    likely, missing = [], 0
    for number, value in enumerate(values):
        # "gA" is the version byte 0x80 before a stamp of this age of the world
        if value.startswith(b"gA"):
            size = len(value)
            # of the bytes that so many characters can stand for, only one number is whole blocks
            lacks = (size // 4 * 3 - _SHORTEST) % _BLOCK
            if not size & 3 and size >= _SHORTEST_TEXT and lacks < len(ZEROS):
                likely.append((number, value, lacks))
                missing += lacks
    found: list[bytes | None] = [None] * len(values)
    text = b"".join([value for _, value, _ in likely])
    if text.translate(None, _ALPHABET) or text.count(b"=") != missing:
        # nearly never: one of them spoils the text for all
        if len(likely) > 1:
            for number, value, _ in likely:
                found[number] = _forms([value])[0]
        return found
    stream, start = a2b_base64(text.translate(PLAIN)), 0
    earliest = b"\x80" + _EARLIEST.to_bytes(8)
    latest = b"\x80" + int(time.time() + _AHEAD).to_bytes(8)
    for number, value, lacks in likely:
        end = start + len(value) // 4 * 3
        raw = stream[start : end - lacks]
        # the bits that no byte uses are zero, and so is what stands for "="
        ends = not lacks or (value.endswith(EQUALS[lacks]) and stream.endswith(ZEROS[lacks], start, end))
        if ends and earliest <= raw[: STAMP.stop] <= latest:
            found[number] = raw
        start = end
    return found


def token_bytes(value: bytes) -> bytes | None:
    """One token's bytes: see `token_forms`."""
    return _forms([value])[0]


def has_token_form(value: bytes) -> bool:
    """Whether bytes are built like a token."""
    return token_bytes(value) is not None


def token_time(token: bytes) -> int:
    """When a token was made, in seconds since 1970, as it says itself."""
    return int.from_bytes(a2b_base64(token[:12].translate(PLAIN))[STAMP])
