"""Two scratch copies of a database: one to try a change on, one to compare with."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployguard.backup.base import Copy, Product, Pulse
from deployguard.backup.durable import PARTIAL, scratch
from deployguard.backup.products import product
from deployguard.backup.room import Need, require
from deployguard.databases.url import with_database
from deployguard.secret import Secret

_DIGESTS = b"of a rehearsal, compared by nobody"


@dataclass(frozen=True)
class Copies:
    """URLs of two copies of one snapshot."""

    tried: Secret
    kept: Secret


@contextmanager
def copies(
    url: str | Secret, *, base: Path, folder: Path, name: str, deadline: float, pulse: Pulse
) -> Iterator[Copies]:
    """Two restored copies of one snapshot, as closed to others as the original, removed at the end.

    Args:
        url: of the database; it is read in one snapshot, beside its writers.
        base: folder that relative paths in `url` begin in.
        folder: private; made here, and removed.
        name: of the copies; what a killed process left under it is removed first.
        deadline: seconds that each copying may take.
        pulse: called between units of work.

    The database itself is let go of as soon as it is copied, however long the copies are used.
    """
    with scratch(folder.with_name(folder.name + PARTIAL)) as place, ExitStack() as held:
        original = product(url, base=base, deadline=deadline)
        count = 2 + original.snapshot_is_copy
        require([Need(original.room(place), count * original.size(), f"{count} copies of the database")])
        tried = with_database(url, _copy(held, original, place, f"{name}-tried", pulse).database)
        again = product(tried, base=base, deadline=deadline)
        kept = with_database(url, _copy(held, again, place, f"{name}-kept", pulse).database)
        yield Copies(tried, kept)


def _copy(held: ExitStack, source: Product, place: Path, name: str, pulse: Pulse) -> Copy:
    with source.snapshot(place, _DIGESTS, pulse) as snapshot, snapshot.read(packed=True) as dump:
        return held.enter_context(source.restored(dump, place, name, pulse))
