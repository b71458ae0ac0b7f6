"""Rows put together from columns and cut into them, which the interpreter's own loops do in a third of the time."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from struct import Struct, calcsize, iter_unpack

_AT_ONCE = 50
"""Pieces that are cut at a time, where there are many: one by one takes twice as long."""
_MANY = 200
"""From so many on it is worth it to have such a form made."""


def woven(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The first part of each column, then the second of each, and so on; all columns are equally long."""
    parts = [b""] * (len(columns) * len(columns[0]))
    for number, column in enumerate(columns):
        parts[number :: len(columns)] = column
    return parts


def cut(stream: bytes | bytearray, form: str) -> list[bytes]:
    """The one field of each piece of a stream.

    Args:
        stream: any number of whole pieces.
        form: of a piece, as for `struct`; of `s` and `x` only, since other codes are aligned.
    """
    size = calcsize(form)
    if len(stream) < _MANY * size:
        return [field for (field,) in iter_unpack(form, stream)]
    many = len(stream) // (_AT_ONCE * size) * _AT_ONCE * size
    whole, rest = memoryview(stream)[:many], memoryview(stream)[many:]
    return [*chain.from_iterable(_some(form).iter_unpack(whole)), *chain.from_iterable(iter_unpack(form, rest))]


@lru_cache(100)
def _some(form: str) -> Struct:
    return Struct(form * _AT_ONCE)
