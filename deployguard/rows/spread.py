"""Rows of a table, as many as there is time for, from all over it and not only from its beginning."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from deployguard.databases.base import Database, Key, Page, RowTable, TableShape
from deployguard.databases.measure import extent, is_whole, rows_about

_PAGE = 500


class _Place(NamedTuple):
    """A part of a table: the keys after one and before another."""

    after: int
    end: int


@dataclass(frozen=True)
class Spread:
    """A table to be looked through.

    Attributes:
        total: its rows, as the catalog estimates them.
        ends: the first and the last key; None where keys are no whole numbers, and it is read in their order.
    """

    database: Database
    table: RowTable
    total: int
    ends: tuple[int, int] | None

    def pages(self, most: int) -> Iterator[Page]:
        """At most `most` rows in portions; after any number of portions they come from all over the table.

        Each row comes once at most.
        """
        if self.ends is None:
            yield from self._in_order(most)
            return
        first, last = self.ends
        width = -(-(last - first + 1) // max(1, min(most, self.total) // _PAGE))
        places = [_Place(begin - 1, begin + width) for begin in range(first, last + 1, width)]
        places = [places[number] for number in _scattered(len(places))]
        left = most
        while places and left > 0:
            place = places.pop(0)
            rows = self.database.page(self.table, (place.after,), min(_PAGE, left))
            # what lies behind the next place is that one's
            mine = rows[: sum(int(key[0]) < place.end for key in rows.keys)]
            if mine:
                yield mine
                left -= len(mine)
            if mine and len(mine) == len(rows):  # there may be more, once every place has had its turn
                places.append(_Place(int(mine.keys[-1][0]), place.end))

    def _in_order(self, most: int) -> Iterator[Page]:
        after: Key | None = None
        left = most
        while left > 0 and (rows := self.database.page(self.table, after, min(_PAGE, left))):
            yield rows
            after, left = rows.keys[-1], left - len(rows)


def spread(
    database: Database, engine: str, shape: TableShape, key: tuple[str, ...], columns: tuple[str, ...]
) -> Spread:
    """A table to be looked through, by a key of its own or, on SQLite, by the number of the row."""
    whole = len(key) == 1 and (key[0] not in shape.columns or is_whole(shape.columns[key[0]].type))
    ends = extent(database, engine, shape.name, key[0]) if whole else None
    return Spread(database, RowTable(shape.name, key, columns), rows_about(database, engine, shape.name), ends)


def _scattered(count: int) -> Iterator[int]:
    """0 to `count` - 1, each once, and at any time about evenly spread: van der Corput's sequence."""
    bits = (count - 1).bit_length()
    for number in range(1 << bits):
        place = int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
        if place < count:
            yield place
