"""What a stored value is: decided by opening it, never by how it begins."""

from typing import Literal

from deployguard.keys.keyring import Keyring, has_token_form

Class = Literal["null", "empty", "plaintext", "primary", "older", "unknown", "nested"]


def classify(value: bytes | None, keyring: Keyring) -> Class:
    """The one class a value belongs to.

    null, empty; plaintext: anything without a token's form, or text that only begins
    like one; primary, older: a token that the first, or another, key opens; nested: a
    token whose content is a token again; unknown: a token's form that no key opens,
    which is damage or a lost key, and is never encrypted again without a decision.
    """
    if value is None:
        return "null"
    if not value:
        return "empty"
    if not has_token_form(value):
        return "plaintext"
    opened = keyring.open(value)
    if opened is None:
        return "unknown"
    if has_token_form(opened.plaintext) and keyring.open(opened.plaintext) is not None:
        return "nested"
    return "older" if opened.key else "primary"
