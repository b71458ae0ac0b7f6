"""Encrypted fields of our own, thin ones, over those of django-encrypted-model-fields.

The package stores a Fernet token for every value but None. It reads a value that is no token
under its keys as it stands, so rows from before the encryption stay readable.
"""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email, validate_ipv46_address
from encrypted_model_fields.fields import EncryptedCharField, EncryptedTextField


def token_length(size: int) -> int:
    """Characters of the token for `size` bytes (Fernet spec, "Token Format")."""
    return 4 * -(-(57 + 16 * (size // 16 + 1)) // 3)


class CustomEncryptedCharField(EncryptedCharField):
    """A column of `max_length` characters for the token, where the package would use an unlimited one."""

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
    """JSON inside the token.

    A token that no key opens is handed back as its text, which is what the package's own fields do.
    """

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        text = EncryptedTextField.to_python(self, value)
        try:
            return None if text is None else json.loads(text)
        except json.JSONDecodeError:
            return text

    def to_python(self, value: Any) -> Any:
        return value

    def formfield(self, **kwargs: Any) -> Any:
        return super().formfield(**{"form_class": forms.JSONField, **kwargs})
