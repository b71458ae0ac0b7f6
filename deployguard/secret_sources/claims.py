"""Whom a token speaks for."""

import base64
import binascii
import json

from deployguard.visible import visible


def claim_of(token: str, *names: str) -> str:
    """The first of these claims that a JSON web token has; "" where it has none or is of another kind.

    Nothing is verified: it is only told to the person who must give that identity a permission. Source: RFC 7519.
    """
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return ""
    found = (claims.get(name) for name in names) if isinstance(claims, dict) else ()
    return visible(next((claim for claim in found if isinstance(claim, str)), ""))
