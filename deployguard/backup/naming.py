"""Names of databases that we make."""

import hashlib


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
