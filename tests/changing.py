"""Changes of single rows, as tests write them down."""

from collections import defaultdict
from typing import NamedTuple

from deployguard.databases.base import Changes


class Change(NamedTuple):
    """New values for some columns of a row, and the old ones they depend on."""

    key: tuple
    columns: tuple
    old: tuple
    new: tuple


def together(*changes):
    """Those of the same columns together, as a database takes them."""
    groups = defaultdict(list)
    for change in changes:
        groups[change.columns].append(change)
    return [_of(columns, group) for columns, group in groups.items()]


def _of(columns, group):
    old, new = ([*zip(*values, strict=True)] for values in ([c.old for c in group], [c.new for c in group]))
    return Changes(columns, [change.key for change in group], old, new)
