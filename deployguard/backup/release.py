"""Which servers a dump goes back to."""

import re

from deployguard.databases.base import Identity


def is_older(server: Identity, than: Identity) -> bool:
    """Whether a server is of an earlier release than another of the same product; a dump does not go back to it."""
    return _release(server) < _release(than)


def _release(identity: Identity) -> tuple[int, ...]:
    """The part of a version that dumps depend on; a SQLite file is the same in all of them."""
    parts = {"sqlite": 0, "postgresql": 1}.get(identity.engine, 2)
    numbers = re.match(r"[\d.]*", identity.version)
    return tuple(int(n) for n in (numbers[0] if numbers else "").split(".") if n)[:parts]
