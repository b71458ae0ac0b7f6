"""Secrets in the key-value engines of HashiCorp Vault and OpenBao."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from deployguard.errors import Refused
from deployguard.secret_sources.base import SECONDS, Found, SecretSource, library
from deployguard.secret_sources.mounted import read_mounted
from deployguard.secret_sources.opened import read_private
from deployguard.visible import visible

_POD = "/var/run/secrets/kubernetes.io/serviceaccount"


class Vault(SecretSource):
    """`{ from: vault, path: app/production, field: field_key }`."""

    source: ClassVar[str] = "vault"

    path: str
    """Within the engine, as in `vault kv get`."""
    field: str
    mount: str = "secret"
    kv: Literal[1, 2] = 2
    """Version of the engine."""
    address: str = ""
    """https://host:port; by default VAULT_ADDR. VAULT_CACERT names the file of its authority."""
    namespace: str = ""
    """By default VAULT_NAMESPACE."""
    auth: Literal["token", "approle", "kubernetes"] = "token"
    auth_mount: str = ""
    """Where the login method is mounted, if not under its own name."""
    role: str = ""
    """AppRole: the role id. Kubernetes: the role."""
    secret_id_file: str = ""
    """AppRole: a 0600 file; by default the variable VAULT_SECRET_ID is read."""
    pod: str = _POD
    """Kubernetes: the folder with the pod's own `token`."""

    def look_up(self, name: str, *, base: Path) -> Found:
        """All fields of the newest version, as JSON."""
        client = self._client()
        with self._explained(name, client):
            self._log_in(client, name, base)
            try:
                if self.kv == 1:
                    return Found(json.dumps(client.secrets.kv.v1.read_secret(self.path, self.mount)["data"]))
                answer = client.secrets.kv.v2.read_secret_version(
                    self.path, mount_point=self.mount, raise_on_deleted_version=True
                )["data"]
                return Found(json.dumps(answer["data"]), str(answer["metadata"]["version"]))
            finally:
                self._log_out(client)

    def _client(self) -> Any:  # noqa: ANN401 - hvac has no types
        hvac = library("hvac", extra="vault")
        address = self.address or os.environ.get("VAULT_ADDR", "")
        there = urlsplit(address)
        if there.scheme != "https" and (there.scheme, there.hostname) not in {
            ("http", "127.0.0.1"),
            ("http", "::1"),
        }:
            raise Refused(
                f"the vault's address {visible(there.hostname or '(none)')} is not https, so tokens and keys "
                "could be read on the way",
                hint="Write address: https://… or set VAULT_ADDR.",
            )
        namespace = self.namespace or os.environ.get("VAULT_NAMESPACE")
        authority = os.environ.get("VAULT_CACERT") or os.environ.get("VAULT_CAPATH")  # hvac reads them once, at import
        # hvac would take VAULT_TOKEN and ~/.vault-token by itself, whatever auth: says
        client = hvac.Client(url=address, token="", namespace=namespace, timeout=SECONDS, verify=authority or True)
        client.token = None
        return client

    def _log_in(self, client: Any, name: str, base: Path) -> None:  # noqa: ANN401
        at = self.auth_mount or self.auth
        if self.auth == "approle":
            client.auth.approle.login(self.role, self._secret_id(name, base), mount_point=at)
        elif self.auth == "kubernetes":
            client.auth.kubernetes.login(self.role, read_mounted(Path(self.pod), "token", name).text, mount_point=at)
        else:
            client.token = os.environ.get("VAULT_TOKEN") or self._left_token(name)

    def _left_token(self, name: str) -> str:
        file = Path("~/.vault-token").expanduser()
        if not file.exists():
            raise Refused(
                f"{self.describe()} (secret {name}): there is no token: VAULT_TOKEN is not set and {file} is not there",
                hint="Run 'vault login' or 'bao login', set VAULT_TOKEN, or write auth: approle or auth: kubernetes.",
            )
        return read_private(file, name)

    def _secret_id(self, name: str, base: Path) -> str:
        if self.secret_id_file:
            return read_private(base / self.secret_id_file, name)
        if "VAULT_SECRET_ID" not in os.environ:
            raise Refused(
                f"there is no secret id for the AppRole {self.role} (secret {name})",
                hint="Set VAULT_SECRET_ID, or name a 0600 file with secret_id_file:.",
            )
        return os.environ["VAULT_SECRET_ID"]

    def _log_out(self, client: Any) -> None:  # noqa: ANN401
        """Give back a token that we made; one that we were given is its owner's."""
        if self.auth != "token":
            with suppress(library("hvac", extra="vault").exceptions.VaultError):
                client.auth.token.revoke_self()

    @contextmanager
    def _explained(self, name: str, client: Any) -> Iterator[None]:  # noqa: ANN401
        place = f"{self.describe()} (secret {name})"
        errors = library("hvac", extra="vault").exceptions
        network = library("requests", extra="vault").exceptions.RequestException
        wanted = f"{self.mount}/data/{self.path}" if self.kv == 2 else f"{self.mount}/{self.path}"  # noqa: PLR2004
        try:
            yield
        except errors.InvalidPath:
            raise Refused(
                f"{place}: there is nothing at {wanted}, or it was deleted",
                hint=f"Correct mount: or path:; if the engine is not KV version {self.kv}, write kv:.",
            ) from None
        except (errors.Forbidden, errors.Unauthorized, errors.InvalidRequest):
            raise self._denied(place, wanted, client) from None
        except (errors.VaultError, network) as error:
            raise Refused(
                f"{place} cannot be asked: {type(error).__name__}",
                hint="Check VAULT_ADDR, VAULT_CACERT and that the server is unsealed: run 'vault status'.",
            ) from None

    def _denied(self, place: str, wanted: str, client: Any) -> Refused:  # noqa: ANN401
        if client.token is None:
            who = f"AppRole {self.role}" if self.auth == "approle" else f"Kubernetes role {self.role}"
            return Refused(
                f"{place}: the login as {who} at auth/{self.auth_mount or self.auth} was refused",
                hint="Check role: and its secret id or service account, and that neither has run out.",
            )
        who = self._holder(client)
        if not who:
            return Refused(
                f"{place}: the token is not valid there: expired, revoked, or another server's",
                hint="Log in again (vault login), or set VAULT_TOKEN to a current token.",
            )
        return Refused(
            f"{place}: {who} may not read {wanted}",
            hint=f'Give it a policy with: path "{wanted}" {{ capabilities = ["read"] }}',
        )

    def _holder(self, client: Any) -> str:  # noqa: ANN401
        if self.auth != "token":  # already given back
            return f"the {'AppRole' if self.auth == 'approle' else 'Kubernetes role'} {self.role}"
        try:
            facts = client.auth.token.lookup_self()["data"]
        except (library("hvac", extra="vault").exceptions.VaultError, OSError):
            return ""
        return visible(f"the token {facts['display_name']} with policies {', '.join(facts['policies'])}")

    def describe(self) -> str:
        """Engine, path and field."""
        return f"vault {self.mount}/{self.path} field {self.field}"
