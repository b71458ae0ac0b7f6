"""A long list in parts of bounded size, so that memory stays flat whatever its values are."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Value = TypeVar("Value", bytes, str)


def portions(values: Sequence[Value], size: int, most: int | None = None) -> Iterator[Sequence[Value]]:
    """All values in order, in parts that end where they reach `size` (their lengths' sum) or `most` values."""
    if sum(map(len, values)) < size and (most is None or len(values) <= most):
        # nearly every list, at a fraction of the time
        if values:
            yield values
        return
    start = held = 0
    for end, value in enumerate(values, 1):
        held += len(value)
        if held >= size or end - start == most:
            yield values[start:end]
            start, held = end, 0
    if start < len(values):
        yield values[start:]
