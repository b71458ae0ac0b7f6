"""What every place that keeps secrets promises."""

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from deployguard.secret import Secret


class SecretSource(BaseModel):
    """One place to fetch a secret from; its fields are the keys beside `from:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: ClassVar[str]
    """Its name in the runbook."""

    def fetch(self, name: str, *, base: Path) -> Secret:
        """The secret, fetched anew at every call.

        Args:
            name: the secret's name in the runbook, for messages.
            base: the runbook's folder, for relative paths.

        Raises:
            Refused: it is not there or may not be read; says which identity asked for
                what and how to mend it, never anything of the value.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """Where the secret is kept, in words fit for a report: never the value."""
        raise NotImplementedError

    def version(self) -> str:
        """What tells one value from its successor, where the place knows; else ""."""
        return ""
