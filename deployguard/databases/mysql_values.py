"""Changes as the lists of values that a statement of MariaDB or MySQL has: as few literals a row as can be.

A server reads one long literal three times as fast as six short ones, and finds rows that changed
meanwhile by one comparison as well as by six.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from deployguard.databases.base import Changes, Key, Value
from deployguard.woven import woven

_FILLED = 1.25
"""Times as long as its values may be what is sent in their place."""
_AROUND = 16
"""Bytes that stand around a value at most."""


class Place(NamedTuple):
    """Where a column's new values stand in the one literal of a row: from which byte, in how many, filled up?"""

    start: int
    size: int
    filled: bool


def places(changes: Changes) -> list[Place]:
    """The places of each column's new values in one literal a row; none where each has to travel alone.

    Values of one size, as tokens mostly are, are cut out again by their places. Where sizes differ
    the shorter ones are filled up with spaces, as far as it costs little and none has a space itself.
    """
    found: list[Place] = []
    start = held = 0
    for column in changes.new:
        sizes = [*map(len, column)]
        size = max(sizes)
        filled = min(sizes) < size
        if filled and b" " in b"".join(column):
            return []
        found.append(Place(start, size, filled))
        start, held = start + size, held + sum(sizes)
    return found if start * len(changes) <= _FILLED * held else []


def lists(changes: Changes, row: bytes, packed: Sequence[Place], most: int) -> Iterator[tuple[Changes, bytes]]:
    """Changes, and their rows of literals: keys, old values as one, new values as one or each.

    Args:
        changes: which.
        row: how a row begins.
        packed: see `places`.
        most: bytes that a list may have, unless one row has more. Where values have to travel in
            hexadecimal it gets twice as long.
    """
    for some in _parts(changes, packed, most):
        yield some, _rows(some, row, packed)


def _parts(changes: Changes, packed: Sequence[Place], most: int) -> Iterator[Changes]:
    start = held = 0
    for end, size in enumerate(_sizes(changes, packed)):
        if end > start and held + size > most:
            yield changes[start:end]
            start, held = end, 0
        held += size
    yield changes[start:]


def _sizes(changes: Changes, packed: Sequence[Place]) -> Iterator[int]:
    """About how many bytes each row takes."""
    around = _AROUND * (2 * len(changes.columns) + len(changes.keys[0]))
    fixed = around + (packed[-1].start + packed[-1].size if packed else 0)
    values = changes.old if packed else (*changes.old, *changes.new)
    return (fixed + sum(sizes) for sizes in zip(*(map(len, column) for column in values), strict=True))


def _rows(changes: Changes, row: bytes, packed: Sequence[Place]) -> bytes:
    if not any(_needs_care(b"".join(column)) for column in (*changes.old, *changes.new)):
        return _plain(changes, row, packed)
    careful = [_needs_care(b"".join((*old, *new))) for _, old, new in changes]
    plain = [number for number, care in enumerate(careful) if not care]
    others = [_row(*change, row, packed) for change, care in zip(changes, careful, strict=True) if care]
    return b",".join([_plain(changes.at(plain), row, packed), *others] if plain else others)


def _needs_care(text: bytes) -> bool:
    return b"'" in text or b"\\" in text


def _row(key: Key, old: Sequence[bytes], new: Sequence[bytes], row: bytes, packed: Sequence[Place]) -> bytes:
    """One row, whatever its values are."""
    before = b"".join(b"%d:%b" % (len(value), value) for value in old)
    if packed:
        new = (b"".join(value.ljust(place.size) for place, value in zip(packed, new, strict=True)),)
    return row + b",".join(map(_literal, (*key, before, *new))) + b")"


def _plain(changes: Changes, row: bytes, packed: Sequence[Place]) -> bytes:
    """The same of many rows, a column at a time."""
    many = len(changes)
    columns: list[Sequence[bytes]] = [[row] * many]
    for part in zip(*changes.keys, strict=True):
        columns += [[*map(_literal, part)], [b","] * many]
    columns.append([b"_binary'"] * many)
    for old in changes.old:
        sizes = [*map(len, old)]
        heads = {size: b"%d:" % size for size in {*sizes}}
        columns += [[*map(heads.__getitem__, sizes)], old]
    for number, new in enumerate(changes.new):
        if not packed or not number:
            columns.append([b"',_binary'"] * many)
        fills = packed and packed[number].filled
        columns.append([value.ljust(packed[number].size) for value in new] if fills else new)
    columns.append([*[b"'),"] * (many - 1), b"')"])
    return b"".join(woven(columns))


def _literal(value: Value) -> bytes:
    if isinstance(value, int):
        return b"%d" % value
    data = value if isinstance(value, bytes) else str(value).encode()
    # tokens and most texts need no escaping; for the others, hexadecimal leaves no question open
    return b"x'" + data.hex().encode() + b"'" if _needs_care(data) else b"_binary'" + data + b"'"
