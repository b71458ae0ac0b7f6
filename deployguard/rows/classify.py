"""What a stored value is: decided by opening it, never by how it begins."""

from collections.abc import Sequence
from typing import Literal

from deployguard.keys.keyring import LOCKED, Keyring, Opened, has_token_form, token_length

_SHORTEST = token_length(0)

Class = Literal["null", "empty", "plaintext", "primary", "older", "unknown", "nested"]


def classify(value: bytes | None, keyring: Keyring) -> Class:
    """The one class a value belongs to: see `classes`."""
    return classes([value], keyring)[0]


def classes(values: Sequence[bytes | None], keyring: Keyring) -> list[Class]:
    """The one class that each value belongs to.

    null, empty; plaintext: anything without a token's form, or text that only begins
    like one; primary, older: a token that the first, or another, key opens; nested: a
    token whose content is a token again; unknown: a token's form that no key opens,
    which is damage or a lost key, and is never encrypted again without a decision.
    """
    found = keyring.look([value or b"" for value in values])
    return [
        _class(opened, keyring) if isinstance(opened, Opened)
        else "unknown" if opened is LOCKED
        else "plaintext" if value
        else "null" if value is None
        else "empty"
        for value, opened in zip(values, found, strict=True)
    ]  # fmt: skip


def _class(opened: Opened, keyring: Keyring) -> Class:
    content = opened.plaintext
    # nearly no content is long enough to be one
    if len(content) >= _SHORTEST and has_token_form(content) and keyring.open(content) is not None:
        return "nested"
    return "older" if opened.key else "primary"
