"""The ways a key is written down by accident, for finding it where it should not be."""

from base64 import b64encode, standard_b64encode, urlsafe_b64decode
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from deployguard.secret import Secret

CHUNK = 1 << 20
_WHOLE = 42
"""Characters whose base64 does not depend on what follows them: a whole number of threes."""


class Spellings:
    """What to look for: each key as it is, in the other base64, raw, in hex, and in base64 once more (Kubernetes)."""

    def __init__(self, keys: Iterable[Secret]) -> None:
        self._needles = [(needle, key.name) for key in keys for needle in _needles(key)]
        self._overlap = max((len(needle) for needle, _ in self._needles), default=1) - 1

    def names_in(self, chunks: Iterable[bytes]) -> set[str]:
        """Names of the keys that stand in a stream, also across the edges of its chunks."""
        found: set[str] = set()
        tail = b""
        for chunk in chunks:
            data = tail + chunk
            found.update(name for needle, name in self._needles if needle in data)
            tail = data[-self._overlap :]
        return found


def _needles(key: Secret) -> list[bytes]:
    text = key.reveal().encode()
    raw = urlsafe_b64decode(text)
    # without the last = which is often lost on the way
    plain = standard_b64encode(raw)[:-1]
    hexadecimal = raw.hex().encode()
    return [text[:-1], plain, raw, hexadecimal, hexadecimal.upper(), b64encode(text[:_WHOLE])]


def pieces(stream: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """A stream in chunks of at most 1 MiB: `size` bytes of it, or all."""
    left = size if size is not None else CHUNK
    while left and (chunk := stream.read(min(CHUNK, left))):
        yield chunk
        left = left - len(chunk) if size is not None else CHUNK
