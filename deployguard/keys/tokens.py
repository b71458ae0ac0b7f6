"""The outer form of a Fernet token: what can be known without a key. Source: github.com/fernet/spec, "Token Format"."""

import time
from binascii import Error
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from pybase64 import b64decode

from deployguard.portions import portions
from deployguard.woven import cut

BEGIN = "gA"
"""Of every token: the version byte 0x80 before a stamp of this age of the world."""
STAMP = slice(1, 9)
"""Of a token's bytes: when it was made, in seconds since 1970, as it says itself."""
_HEAD = 1 + 8 + 16
_MAC = 32
_BLOCK = 16
_SHORTEST = _HEAD + _BLOCK + _MAC
# Fernet was published in 2013; a stamp before it, or years ahead, is not a token's
_EARLIEST = 1_300_000_000
_AHEAD = 10 * 365 * 86400
_LAST_OF_SHAPE = 0x7F
"""First byte of a stamp of four, of those that begin with the bit 0: up to 2038."""
ZEROS = (b"", b"\0", b"\0\0")
"""By how many bytes the last group of three lacks: what `from_text` makes of the "=" that stand for them."""
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
_BEGIN = BEGIN.encode()
_OLDEST = b"\x80" + _EARLIEST.to_bytes(8)
_DIGITS = _ALPHABET[:-1].decode()
AT_ONCE = 1 << 20
"""Bytes of the values that are worked on together."""

Found = TypeVar("Found")


def token_length(plaintext: int) -> int:
    """Characters of the token of `plaintext` bytes."""
    return 4 * -(-(_HEAD + _MAC + _BLOCK * (plaintext // _BLOCK + 1)) // 3)


def content_length(characters: int) -> int:
    """Bytes of the largest plaintext whose token has at most so many characters; -1 where none has."""
    blocks = (characters // 4 * 3 - _HEAD - _MAC) // _BLOCK
    return blocks * _BLOCK - 1 if blocks > 0 else -1


_SHORTEST_TEXT = token_length(0)


def from_text(text: bytes) -> bytes:
    """The bytes of base64 in the alphabet of URLs; "=", which ends a group that is not full, stands for zeros.

    Raises:
        binascii.Error: it is no base64, or in another alphabet.
    """
    if b"+" in text or b"/" in text:
        raise Error
    return b64decode(text.replace(b"=", b"A"), b"-_", validate=True)


def ends_alike(text: bytes, size: int, lacks: int) -> bool:
    """Whether in a text of tokens of `size` characters each ends in `lacks` "=", and there are no others."""
    many = len(text) // size
    ends = range(size - lacks, size)
    return text.count(b"=") == lacks * many and all(text[place::size] == b"=" * many for place in ends)


def alike(values: Sequence[bytes], sizes: Sequence[int], work: Callable[[Sequence[bytes]], list[Found]]) -> list[Found]:
    """What `work` finds for each value, in order; it is given those of one size at a time.

    Parts that are equally long are cut and joined by the interpreter's own loops, which takes
    a third of the time that one by one would.
    """
    if len({*sizes}) == 1:
        return work(values)
    places: defaultdict[int, list[int]] = defaultdict(list)
    for number, each in enumerate(sizes):
        places[each].append(number)
    found: dict[int, Found] = {}
    for numbers in places.values():
        found.update(zip(numbers, work([values[number] for number in numbers]), strict=True))
    return [found[number] for number in range(len(values))]


def token_forms(values: Sequence[bytes]) -> list[bytes | None]:
    """Each token's bytes; None for anything that is not built like one, whatever key may open it.

    Canonical base64url, the version byte, whole cipher blocks and a stamp that a clock
    could have given: text that a person types does not pass by accident.
    """
    return [raw for some in portions(values, AT_ONCE) for raw in _forms(some)]


def _forms(values: Sequence[bytes]) -> list[bytes | None]:
    return alike(values, [*map(len, values)], _forms_alike)


def _forms_alike(values: Sequence[bytes]) -> list[bytes | None]:
    """The forms of values of one length."""
    size, many = len(values[0]), len(values)
    # of the bytes that so many characters can stand for, only one number is whole blocks
    lacks = (size // 4 * 3 - _SHORTEST) % _BLOCK
    if size & 3 or size < _SHORTEST_TEXT or lacks >= len(ZEROS):
        return [None] * many
    likely = [value for value in values if value.startswith(_BEGIN)]
    text = b"".join(likely)
    if len(likely) == many and not text.translate(None, _ALPHABET) and ends_alike(text, size, lacks):
        stream, held = from_text(text), size // 4 * 3 - lacks
        raws, over = cut(stream, f"{held}s{lacks}x"), cut(stream, f"{held}x{lacks}s")
        # the bits that no byte uses are zero, and so is what stands for "="
        exact = over.count(ZEROS[lacks]) == many
        latest = b"\x80" + int(time.time() + _AHEAD).to_bytes(8)
        if exact and min(raws) >= _OLDEST and max(raws)[: STAMP.stop] <= latest:
            return raws  # type: ignore[return-value]
    if many == 1 or not likely:
        return [None] * many
    # nearly never: one of them spoils it for all
    return [form for value in values for form in _forms_alike([value])]


class Shape(NamedTuple):
    """Text of at least so many characters whose number leaves a remainder, and that matches a regular expression."""

    least: int
    modulus: int
    remainder: int
    pattern: str


def shapes() -> tuple[Shape, ...]:
    """What only tokens are like, and nearly all there are: for a database to leave them out.

    It is what `token_forms` looks for but for the first half year of stamps and the last. Whole
    groups of base64 and whole cipher blocks meet every 48 bytes, in 64 characters, so the length
    says how the text must end: with so many "=", after a digit with no bits but those a byte uses.
    PostgreSQL, MariaDB, MySQL and Python read the expressions alike, byte by byte; to some, `$` is
    also before a newline at the end.
    """
    # the first byte of a stamp of four stands in the eighth character, after the one that says 2004 to 2038
    first, last = (_EARLIEST >> 24) + 1, min((int(time.time() + _AHEAD) >> 24) - 1, _LAST_OF_SHAPE)
    whole = "".join(sorted(_DIGITS[byte & 63] for byte in range(first, last + 1)))
    ends = {2: "[AQgw]==", 1: "[AEIMQUYcgkosw048]=", 0: "[A-Za-z0-9_-]"}
    return tuple(
        Shape(_SHORTEST_TEXT, 64, token_length(blocks * _BLOCK) % 64, f"^gAAAAAB[{whole}][A-Za-z0-9_-]+{end}$(?!\n)")
        for blocks, end in enumerate(ends.values())
    )


def token_bytes(value: bytes) -> bytes | None:
    """One token's bytes: see `token_forms`."""
    return _forms([value])[0]


def raw_forms(values: Sequence[bytes]) -> list[bytes | None]:
    """Each value that is a token's bytes, not in base64, as django-cryptography stores them; None for others."""
    earliest, latest = _EARLIEST, int(time.time() + _AHEAD)
    return [
        value
        if len(value) >= _SHORTEST
        and not (len(value) - _SHORTEST) % _BLOCK
        and value[:1] == b"\x80"
        and earliest <= int.from_bytes(value[STAMP]) <= latest
        else None
        for value in values
    ]


def has_token_form(value: bytes) -> bool:
    """Whether bytes are built like a token."""
    return token_bytes(value) is not None
