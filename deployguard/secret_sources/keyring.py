"""Secrets in the desktop's or the system's keyring."""

import getpass
import threading
from pathlib import Path
from typing import Any, ClassVar

from deployguard.errors import Refused
from deployguard.secret_sources.base import Found, SecretSource, library

_SECONDS = 30.0
"""A locked keyring asks a person; a run that nobody watches must not wait for one for ever."""


class Keyring(SecretSource):
    """`{ from: keyring, service: deployguard, username: field-key }`."""

    source: ClassVar[str] = "keyring"

    service: str
    username: str

    def look_up(self, name: str, *, base: Path) -> Found:  # noqa: ARG002 - a keyring has no folder
        """The password that is kept under the service and the name."""
        keyring = library("keyring", extra="keyring")
        place = f"{self.describe()} (secret {name})"
        answer = _Asked(keyring, self.service, self.username)
        who = f"user {getpass.getuser()} with {type(keyring.get_keyring()).__module__}"
        if answer.error or answer.value is None:
            raise Refused(
                f"{place} is not there for {who}{answer.error}",
                hint=f"Run 'keyring set {self.service} {self.username}' as this user, and keep the keyring unlocked.",
            )
        return Found(answer.value)

    def describe(self) -> str:
        """The service and the name."""
        return f"keyring {self.service}/{self.username}"


class _Asked:
    """One question to the keyring, in a thread that can be left behind."""

    def __init__(self, keyring: Any, service: str, username: str) -> None:  # noqa: ANN401 - untyped library
        self.value: str | None = None
        self.error = f": it did not answer in {_SECONDS:g} s"
        thread = threading.Thread(target=self._ask, args=(keyring, service, username), daemon=True)
        thread.start()
        thread.join(_SECONDS)

    def _ask(self, keyring: Any, service: str, username: str) -> None:  # noqa: ANN401
        try:
            self.value = keyring.get_password(service, username)
            self.error = ""
        except Exception as error:  # noqa: BLE001 - a backend is anybody's code; what it raises is its answer
            self.error = f": {type(error).__name__}"
