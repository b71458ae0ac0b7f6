"""Secrets in Azure Key Vault."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from deployguard.errors import Refused
from deployguard.secret_sources.base import SECONDS, Found, SecretSource, library
from deployguard.secret_sources.claims import claim_of
from deployguard.visible import visible

_SCOPE = "https://vault.azure.net/.default"
_FORBIDDEN, _ABSENT = 403, 404


class Azure(SecretSource):
    """`{ from: azure, vault: team-keys, secret: field-key }`."""

    source: ClassVar[str] = "azure"

    vault: Annotated[str, Field(pattern=r"^(https://\S+|[A-Za-z0-9-]+|.*\$\{\{.*)$")]
    """Its name, or the whole https address in other clouds than the public one."""
    secret: str

    def look_up(self, name: str, *, base: Path) -> Found:  # noqa: ARG002 - no file is named
        """The newest version."""
        identity = library("azure.identity", extra="azure")
        secrets, errors = (
            library("azure.keyvault.secrets", extra="azure"),
            library("azure.core.exceptions", extra="azure"),
        )
        place = f"{self.describe()} (secret {name})"
        address = self.vault if self.vault.startswith("https://") else f"https://{self.vault}.vault.azure.net"
        limits = {"retry_total": 1, "connection_timeout": SECONDS, "read_timeout": SECONDS}
        with (
            identity.DefaultAzureCredential(process_timeout=int(SECONDS), **limits) as credential,
            secrets.SecretClient(address, credential, **limits) as client,
        ):
            try:
                found = client.get_secret(self.secret)
            except errors.ClientAuthenticationError:
                raise Refused(
                    f"{place}: no credential that was found here is accepted",
                    hint="Set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, use a managed identity, "
                    "or run 'az login'.",
                ) from None
            except errors.HttpResponseError as error:
                raise self._explained(place, error, _identity(credential, errors)) from None
            except errors.AzureError as error:
                raise Refused(
                    f"{place} cannot be asked: {type(error).__name__}", hint="Check vault: and the network."
                ) from None
        return Found(found.value or "", found.properties.version)

    def _explained(self, place: str, error: Any, who: str) -> Refused:  # noqa: ANN401 - untyped library
        if error.status_code == _ABSENT:
            return Refused(f"{place} is not there for {who}", hint="Check secret: and that it is not deleted.")
        if error.status_code == _FORBIDDEN:
            inner = getattr(getattr(error, "error", None), "innererror", None) or {}
            return Refused(
                f"{place}: {who} may not read it ({visible(str(inner.get('code', 'Forbidden')))})",
                hint="Grant Microsoft.KeyVault/vaults/secrets/getSecret/action (role 'Key Vault Secrets User'); "
                "also check that the secret is enabled and the vault's firewall admits this machine.",
            )
        return Refused(f"{place} cannot be read: status {error.status_code}", hint="Try again, or ask 'az keyvault'.")

    def describe(self) -> str:
        """The vault and the name."""
        return f"Azure Key Vault {self.vault} secret {self.secret}"


def _identity(credential: Any, errors: Any) -> str:  # noqa: ANN401
    try:
        token = credential.get_token(_SCOPE).token
    except errors.AzureError:
        return "the credential found here"
    return f"the identity {claim_of(token, 'upn', 'appid', 'azp', 'oid') or 'of the credential found here'}"
