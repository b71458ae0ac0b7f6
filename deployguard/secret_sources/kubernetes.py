"""Secrets of Kubernetes: mounted into the pod, or asked of the API."""

import base64
import binascii
import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, ValidationInfo, field_validator

from deployguard.errors import Refused
from deployguard.secret_sources.base import SECONDS, Found, SecretSource, library, text_of
from deployguard.secret_sources.mounted import read_mounted
from deployguard.visible import visible

_UNKNOWN, _ABSENT = 401, 404


class Kubernetes(SecretSource):
    """`{ from: kubernetes, mount: /etc/field-key, key: primary }`, or `secret:` and `namespace:` for `mount:`."""

    model_config = ConfigDict(validate_default=True)

    source: ClassVar[str] = "kubernetes"

    key: str
    """Its name among the data of the secret."""
    mount: str = ""
    """The folder where the secret's volume is mounted."""
    secret: str = ""
    """Name of the Secret, to ask the API for."""
    namespace: str = "default"
    context: str = ""
    """Of the kubeconfig; by default the pod's own service account, elsewhere the current context."""

    @field_validator("secret", mode="after")
    @classmethod
    def _one_of_two(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) == bool(info.data.get("mount")):
            raise ValueError("give either mount: or secret:")
        return value

    def look_up(self, name: str, *, base: Path) -> Found:
        """The key's value now."""
        if self.mount:
            return read_mounted(base / self.mount, self.key, name)
        library("kubernetes", extra="kubernetes")
        place = f"{self.describe()} (secret {name})"
        client, errors = (
            library("kubernetes.client", extra="kubernetes"),
            library("urllib3.exceptions", extra="kubernetes"),
        )
        with self._connection(place) as connection:
            try:
                answer = client.CoreV1Api(connection).read_namespaced_secret(
                    self.secret, self.namespace, _request_timeout=SECONDS
                )
            except client.ApiException as error:
                raise self._explained(place, error.status, _identity(client, connection, errors)) from None
            except (errors.HTTPError, OSError) as error:
                raise Refused(
                    f"{place} cannot be asked: {type(error).__name__}", hint="Try 'kubectl get --raw /readyz' here."
                ) from None
        return Found(text_of(self._data(answer.data or {}, place), place), answer.metadata.resource_version or "")

    def _data(self, data: dict[str, str], place: str) -> bytes:
        try:
            return base64.b64decode(data[self.key], validate=True)
        except (KeyError, binascii.Error):
            raise Refused(f"{place} has no such key", hint="Correct key:.") from None

    def _connection(self, place: str) -> Any:  # noqa: ANN401 - the library has no types
        config, client = (
            library("kubernetes.config", extra="kubernetes"),
            library("kubernetes.client", extra="kubernetes"),
        )
        settings = client.Configuration()
        settings.retries = 1
        try:
            if not self.context and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=settings)
            else:
                # the library reads KUBECONFIG once, at import
                file = os.environ.get("KUBECONFIG") or "~/.kube/config"
                config.load_kube_config(file, context=self.context or None, client_configuration=settings)
        except (config.ConfigException, OSError):
            raise Refused(
                f"{place}: there is no usable kubeconfig and no service account here",
                hint="Set KUBECONFIG, correct context:, or run in a pod.",
            ) from None
        return client.ApiClient(settings)

    def _explained(self, place: str, status: int, who: str) -> Refused:
        if status == _ABSENT:
            return Refused(f"{place} is not there for {who}", hint="Check secret: and namespace:.")
        if status == _UNKNOWN:
            return Refused(f"{place}: the credentials are not accepted", hint="Renew them; try 'kubectl auth whoami'.")
        return Refused(
            f"{place}: {who} may not read it (status {status})",
            hint=f"Give it a Role in {self.namespace} with verbs [get] on resources [secrets], "
            f"resourceNames [{self.secret}].",
        )

    def describe(self) -> str:
        """Where, and which key."""
        where = f"mounted in {self.mount}" if self.mount else f"{self.namespace}/{self.secret}"
        return f"Kubernetes secret {where} key {self.key}"


def _identity(client: Any, connection: Any, errors: Any) -> str:  # noqa: ANN401
    """As the server knows us: any identity may ask it that. Source: kubernetes.io, "SelfSubjectReview"."""
    try:
        review = client.AuthenticationV1Api(connection).create_self_subject_review(
            client.V1SelfSubjectReview(), _request_timeout=SECONDS
        )
    except (client.ApiException, errors.HTTPError, OSError):
        return "the identity used here"
    return visible(review.status.user_info.username)
