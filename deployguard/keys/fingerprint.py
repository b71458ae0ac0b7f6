"""A name for a key that does not reveal it."""

import hashlib
import hmac

from deployguard.secret import Secret

_CONSTANT = b"deployguard key fingerprint 1"


def fingerprint(key: Secret) -> str:
    """Sixteen hexadecimal digits in groups of four, the same for the same key everywhere.

    An HMAC of a constant under the key, so that it tells nothing about the key and
    cannot be confused with a digest made for another purpose. Source: RFC 2104.
    """
    digest = hmac.new(key.reveal().encode(), _CONSTANT, hashlib.sha256).hexdigest()[:16]
    return "-".join(digest[i : i + 4] for i in range(0, 16, 4))
