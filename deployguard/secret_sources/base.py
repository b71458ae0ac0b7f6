"""What every place that keeps secrets promises."""

import importlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from deployguard.errors import Refused
from deployguard.secret import Secret

LARGEST = 64 * 1024
"""Bytes; what is longer is not a key or a password but the wrong file."""

SECONDS = 10.0
"""What one request to a server may take. A few are made at most, so a run learns soon that a place is down."""


@dataclass(frozen=True)
class Found:
    """What a place gave, before a field of it is picked."""

    text: str = field(repr=False)
    version: str = ""


class SecretSource(BaseModel):
    """One place to fetch a secret from; its fields are the keys beside `from:`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    source: ClassVar[str]
    """Its name in the runbook."""

    field: str = ""
    """Where the place keeps a JSON object: the key whose value is the secret."""

    def look_up(self, name: str, *, base: Path) -> Found:
        """What the place has now. Arguments and errors as for `fetch`."""
        raise NotImplementedError

    def describe(self) -> str:
        """Where the secret is kept, in words fit for a report: never the value."""
        raise NotImplementedError

    def fetch(self, name: str, *, base: Path) -> Secret:
        """The secret, fetched anew at every call.

        Args:
            name: the secret's name in the runbook, for messages.
            base: the runbook's folder, for relative paths.

        Raises:
            Refused: it is not there, is empty, or may not be read; says which identity asked
                for what and how to mend it, never anything of the value.
        """
        return Secret(self._picked(self.look_up(name, base=base).text, name), name=name)

    def version(self, name: str, *, base: Path) -> str:
        """What tells one value from its successor, asked anew; "" where the place does not know.

        Raises:
            Refused: as `fetch` does.
        """
        return self.look_up(name, base=base).version

    def _picked(self, text: str, name: str) -> str:
        place = f"{self.describe()} (secret {name})"
        if self.field:
            text = _field_of(text, self.field, place)
        if not text:
            raise Refused(f"{place} is empty", hint="Put the secret there, or correct where it is fetched from.")
        return text


def _field_of(text: str, wanted: str, place: str) -> str:
    try:
        data = json.loads(text, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError):  # the message would quote the value
        raise Refused(
            f"{place} is not JSON with each key once, so it has no field {wanted}",
            hint="Remove field: if the whole text is the secret.",
        ) from None
    value = data.get(wanted) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise Refused(
            f"{place} has no field {wanted} that is text", hint="Correct field:, or store the value as a JSON string."
        )
    return value


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def text_of(raw: bytes, place: str) -> str:
    """Bytes of a secret as text, without the last line break.

    Raises:
        Refused: too long, not UTF-8, or marked with a byte order mark, which the
            application would read as part of its key.
    """
    wrong = ""
    if len(raw) > LARGEST:
        wrong = f"is larger than {LARGEST} bytes"
    elif raw.startswith(b"\xef\xbb\xbf"):
        wrong = "begins with a byte order mark"
    if wrong:
        raise Refused(f"{place} {wrong}", hint="Keep the secret there as plain UTF-8 text, and nothing else.")
    try:
        return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Refused(f"{place} is not text", hint="Keep the key as base64 text.") from None


def library(module: str, *, extra: str) -> Any:  # noqa: ANN401 - a module of an optional library has no type here
    """A client library, imported when it is needed, so that `--help` stays fast.

    Raises:
        Refused: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise Refused(
            f"the library {module} is not installed", hint=f"Run: pip install 'deployguard[{extra}]'"
        ) from None
