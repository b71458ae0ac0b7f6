"""Names of databases that we make, and how one is told from another's of the same name."""

import hashlib

from deployguard.errors import Refused

MARK = "a scratch copy of deployguard; it may be removed"
"""The comment that a server keeps with each of our copies."""


def not_ours(scratch: str) -> Refused:
    """The error for a database that stands where a copy is to be restored, and is none of ours."""
    return Refused(
        f"the database {scratch!r} is in the way: it is not empty, and is not a scratch copy of ours",
        hint="Look at what it holds, then rename or drop it: its name is needed. Nothing was changed.",
    )


def fitting(name: str, longest: int) -> str:
    """A name that the server takes; one that is too long ends in a digest of all of it.

    Args:
        name: as wished for.
        longest: bytes of UTF-8.
    """
    data = name.encode()
    if len(data) <= longest:
        return name
    return data[: longest - 9].decode("utf-8", "ignore") + "-" + hashlib.sha256(data).hexdigest()[:8]
