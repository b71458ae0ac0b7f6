"""Rows put together from columns and cut into them, which the interpreter's own loops do in a third of the time."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from struct import Struct

_AT_ONCE = 50
"""Pieces that are cut at a time: one by one takes twice as long."""


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
    one, some = _structs(form)
    many = len(stream) // some.size * some.size
    whole, rest = memoryview(stream)[:many], memoryview(stream)[many:]
    return [*chain.from_iterable(some.iter_unpack(whole)), *chain.from_iterable(one.iter_unpack(rest))]


@lru_cache(100)
def _structs(form: str) -> tuple[Struct, Struct]:
    return Struct(form), Struct(form * _AT_ONCE)
