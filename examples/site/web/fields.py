"""Encrypted fields of our own, thin ones, over those of django-encrypted-model-fields.

The package stores a Fernet token for every value but None. It reads a value that is no token
under its keys as it stands, so rows from before the encryption stay readable. It would hand out
a token that no key opens in the same way, and the next save would seal it a second time: ours
raise InvalidToken instead, which ends up in the log that the deployment watches.
"""

import base64
import binascii
import json
from typing import Any

from cryptography.fernet import InvalidToken
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email, validate_ipv46_address
from encrypted_model_fields.fields import EncryptedCharField, EncryptedTextField


def token_length(size: int) -> int:
    """Characters of the token for `size` bytes (Fernet spec, "Token Format")."""
    return 4 * -(-(57 + 16 * (size // 16 + 1)) // 3)


def looks_like_a_token(text: str) -> bool:
    """Whether it is built like a token, whatever key may open it; "gAAAA, she said" is not."""
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii"))
    except (ValueError, binascii.Error):
        return False
    return raw[:1] == b"\x80" and len(text) == token_length(len(raw) - 57 - 1)


def readable(stored: Any, opened: Any) -> Any:
    """What was opened, unless that is a token still."""
    if isinstance(stored, str) and opened == stored and looks_like_a_token(stored):
        raise InvalidToken
    return opened


class CustomEncryptedCharField(EncryptedCharField):
    """A column of `max_length` characters for the token, where the package would use an unlimited one."""

    def from_db_value(self, value: Any, *args: Any) -> Any:
        return readable(value, super().from_db_value(value, *args))

    def get_internal_type(self) -> str:
        return "CharField"

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        return name, path, args, {**kwargs, "max_length": self.max_length}

    def validate(self, value: Any, model_instance: Any) -> None:
        super().validate(value, model_instance)
        if value is not None and token_length(len(str(value).encode())) > self.max_length:
            raise ValidationError("This is too long to be stored encrypted.", code="max_length")


class CustomEncryptedEmailField(CustomEncryptedCharField):
    default_validators = [validate_email]

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": forms.EmailField, **kwargs})


class CustomEncryptedIPAddressField(CustomEncryptedCharField):
    default_validators = [validate_ipv46_address]


class CustomEncryptedJSONField(EncryptedTextField):
    """JSON inside the token."""

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        text = readable(value, EncryptedTextField.to_python(self, value))
        return None if text is None else json.loads(text)

    def to_python(self, value: Any) -> Any:
        return value

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": forms.JSONField, **kwargs})
