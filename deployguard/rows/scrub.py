"""Is former plaintext still in the database's files? Looked for, not believed."""

import mmap
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployguard.databases.base import Database
from deployguard.databases.residue import Place
from deployguard.keys.keyring import Opened
from deployguard.keys.sealer import Sealers
from deployguard.rows.tables import Work, ranges, tables_of
from deployguard.rows.target import EncryptedColumn

_SHORTEST = 10
_LONGEST = 200
_SAMPLES = 64
_WINDOW = 64 << 20


@dataclass(frozen=True)
class Looked:
    """What was seen of one place.

    Attributes:
        found: how many of the samples stand there in plain.
        bytes: that were searched.
        why_not: why it was not looked at, where it was not.
    """

    what: str
    found: int
    bytes: int
    why_not: str
    cleaned: bool


def samples(database: Database, columns: Sequence[EncryptedColumn], keyring: Sealers) -> list[bytes]:
    """What some tokens hold, here and there in each table, to be looked for in files.

    Shorter values than ten bytes would be found by chance, and long ones may be stored
    compressed or in pieces: neither is taken.
    """
    found: set[bytes] = set()
    works = tables_of(database, columns)
    for work in works:
        found |= set(_of_table(database, work, keyring, _SAMPLES // len(works) + 1))
    return sorted(found)


def _of_table(database: Database, work: Work, keyring: Sealers, many: int) -> list[bytes]:
    found: list[bytes] = []
    for after, _ in ranges(database, work.table, database.count(work.table.name)):
        page = database.page(work.table, after, 200)
        for index, column in enumerate(work.table.columns):
            opened = keyring.of(work.table.name, column).look([value or b"" for value in page.columns[index]])
            plain = [each.plaintext for each in opened if isinstance(each, Opened)]
            found += [each for each in plain if _SHORTEST <= len(each) <= _LONGEST]
    return random.sample(found, min(many, len(found)))


def look(places: Sequence[Place], wanted: Sequence[bytes], told: Callable[[str, int, int], None]) -> list[Looked]:
    """Search files for values.

    Args:
        places: where.
        wanted: what; how many of them are found is told, never which.
        told: called now and then with a place, the bytes searched of it and all its bytes.
    """
    return [_look(place, wanted, told) for place in places]


def _look(place: Place, wanted: Sequence[bytes], told: Callable[[str, int, int], None]) -> Looked:
    if place.why_not:
        return Looked(place.what, 0, 0, place.why_not, place.cleaned)
    found: set[int] = set()
    total, seen = sum(file.stat().st_size for file in place.files if file.exists()), 0
    overlap = max(map(len, wanted), default=1)
    for file in place.files:
        try:
            with file.open("rb") as stream:
                size = file.stat().st_size
                if not size:
                    continue
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    for start in range(0, size, _WINDOW):
                        end = min(size, start + _WINDOW + overlap)
                        found |= {n for n, value in enumerate(wanted) if content.find(value, start, end) >= 0}
                        seen += min(_WINDOW, size - start)
                        told(place.what, seen, total)
        except FileNotFoundError:
            # the server has put another in its place meanwhile
            continue
    return Looked(place.what, len(found), total, "", place.cleaned)
