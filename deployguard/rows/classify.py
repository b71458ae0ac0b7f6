"""What a stored value is: decided by opening it, never by how it begins."""

from collections.abc import Sequence
from typing import Literal

from deployguard.keys.keyring import Locked
from deployguard.keys.sealer import Sealer

Class = Literal["null", "empty", "plaintext", "primary", "older", "unknown", "nested"]


def classify(value: bytes | None, sealer: Sealer) -> Class:
    """The one class a value belongs to: see `classes`."""
    return classes([value], sealer)[0]


def classes(values: Sequence[bytes | None], sealer: Sealer) -> list[Class]:
    """The one class that each value belongs to.

    null, empty; plaintext: anything without a token's form, or text that only begins
    like one; primary, older: a token that the first, or another, key opens; nested: a
    token whose content is a token again; unknown: a token's form that no key opens,
    which is damage or a lost key, and is never encrypted again without a decision.
    """
    found = sealer.look([value or b"" for value in values])
    shortest = sealer.shortest
    return [
        "unknown" if isinstance(opened, Locked)
        else ("plaintext" if value else "null" if value is None else "empty") if opened is None
        # nearly no content is long enough to be a token
        else "nested" if len(opened.plaintext) >= shortest and _is_token(opened.plaintext, sealer)
        else "older" if opened.key
        else "primary"
        for value, opened in zip(values, found, strict=True)
    ]  # fmt: skip


def _is_token(content: bytes, sealer: Sealer) -> bool:
    return sealer.forms([content])[0] is not None and sealer.open(content) is not None
