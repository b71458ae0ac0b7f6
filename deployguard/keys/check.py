"""Is this a field-encryption key? Every way in which it may not be, with how to mend it.

Source: Fernet spec, "Key Format" (github.com/fernet/spec): 32 bytes, base64url with padding.
"""

import base64
import binascii
import hashlib
import secrets
from itertools import pairwise

from deployguard.errors import Refused
from deployguard.secret import Secret

LENGTH = 32
ENCODED = 44
FEWEST = 17
"""Different bytes among 32; of random keys not one in 10**14 has fewer."""

# SHA-256 of keys that stand in public texts: the deployment guide's own example, the Fernet
# spec's test vectors, and three that examples of Python and Airflow have spread over hundreds
# of repositories. Digests, so that a scan of this repository finds no key.
PUBLISHED = frozenset(
    {
        "6d0cb0acae56e8a3854f3700a1718f90b7cae849f45dcaf21a7f1ef3eff2f4e1",
        "d88a2cb53b61ef4d6fe8923a89129d437a293f6cd1a951ff09b94f971a88d585",
        "04e309c3e9f8b1686e1adc2add800a542038e9be0bfe6b2eb172f05cd44b04d4",
        "81886cc4d79074f6e946934d4e9e9d6a2ef320041045a0bd3c36ab6939df37e8",
        "45f9af60db8dc522a2d2f8d302f80d4eab1452fb4ad437bbe4f6fb819608efcc",
    }
)

_NEW = "Make a new one with 'deployguard keys generate' and save it before you use it."


def parse_key(secret: Secret) -> Secret:
    """The key in its canonical form, or a refusal that says what is wrong with it.

    Raises:
        Refused: absent, quoted, of the wrong length or alphabet, published, or not random.
            The message says how it is wrong and never what it is.
    """
    text, name = secret.reveal(), secret.name
    raw = _decoded(text, name)
    if hashlib.sha256(text.encode()).hexdigest() in PUBLISHED:
        raise _no(name, "is an example key from public documentation", _NEW)
    if len(set(raw)) == 1:
        raise _no(name, "is one byte repeated", _NEW)
    if all(32 <= byte < 127 for byte in raw):  # noqa: PLR2004 - printable ASCII
        raise _no(name, "is text in base64, not random bytes: it can be guessed", _NEW)
    if len(set(raw)) < FEWEST or len({(b - a) % 256 for a, b in pairwise(raw)}) == 1:
        raise _no(name, "is a simple pattern, not random bytes: it can be guessed", _NEW)
    return secret


def _decoded(text: str, name: str) -> bytes:
    if not text:
        raise _no(name, "is empty", "Set it. " + _NEW)
    if text.startswith(("b'", 'b"')):
        raise _no(
            name, "is written as Python shows bytes (b'…')",
            "Take away the b and the quotes: only the 44 characters between them are the key.",
        )  # fmt: skip
    if text[0] in "'\"" or text[-1] in "'\"":
        raise _no(name, "is in quotes", "Take away the quotes: the shell needed them, the key does not have them.")
    if text != text.strip() or "\ufeff" in text:
        raise _no(
            name,
            "has white space or a byte order mark around it",
            "Write the 44 characters and nothing else, no line break.",
        )
    if len(text) != ENCODED:
        raise _no(
            name, f"has {len(text)} characters, a key has {ENCODED}",
            "A character was lost or added on the way: copy the key again from where it is kept.",
        )  # fmt: skip
    # b64decode takes + and / too, although other characters stand for them here
    foreign = "+" in text or "/" in text
    try:
        raw = b"" if foreign else base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        foreign, raw = True, b""
    if foreign:
        raise _no(
            name, "is not base64url (letters, digits, - and _, one = at the end)",
            "Standard base64 has + and /: write - for + and _ for /, or copy the key again.",
        )  # fmt: skip
    if len(raw) != LENGTH:
        raise _no(name, f"decodes to {len(raw)} bytes, a key has {LENGTH}", "Copy the key again from where it is kept.")
    if base64.urlsafe_b64encode(raw).decode() != text:
        raise _no(name, "is not written the one canonical way", "Its last character is wrong: copy the key again.")
    return raw


def _no(name: str, what: str, hint: str) -> Refused:
    return Refused(f"the key {name} {what}", hint=hint)


def generate_key() -> Secret:
    """A new key: 32 bytes from the operating system's generator, in base64url."""
    return Secret(base64.urlsafe_b64encode(secrets.token_bytes(LENGTH)).decode(), name="new key")
