"""Secrets in Google Cloud's Secret Manager."""

from pathlib import Path
from typing import Any, ClassVar

from deployguard.errors import Refused
from deployguard.secret_sources.base import SECONDS, Found, SecretSource, library, text_of
from deployguard.visible import visible


class Gcp(SecretSource):
    """`{ from: gcp, project: shop-production, secret: field-key }`."""

    source: ClassVar[str] = "gcp"

    project: str
    secret: str

    def look_up(self, name: str, *, base: Path) -> Found:  # noqa: ARG002 - no file is named
        """The newest version."""
        google, errors = library("google.auth", extra="gcp"), library("google.auth.exceptions", extra="gcp")
        api = library("google.api_core.exceptions", extra="gcp")
        place = f"{self.describe()} (secret {name})"
        who = "the credentials found here"
        try:
            credentials, _ = google.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
            who = visible(getattr(credentials, "service_account_email", None) or "the user's own credentials")
            answer = self._asked(credentials)
        except api.NotFound:
            raise Refused(f"{place} is not there for {who}", hint="Check project: and secret:.") from None
        except api.Forbidden:
            raise Refused(
                f"{place}: {who} may not read its newest version",
                hint="Grant secretmanager.versions.access (role roles/secretmanager.secretAccessor) on the secret.",
            ) from None
        except api.BadRequest:
            raise Refused(
                f"{place}: its newest version cannot be read by {who}, nor by anybody",
                hint="Check that it is enabled and not destroyed, and that project: and secret: are only names.",
            ) from None
        except (errors.GoogleAuthError, api.Unauthorized) as error:
            raise Refused(
                f"{place}: {who}: not accepted ({type(error).__name__})",
                hint="Name a key file with GOOGLE_APPLICATION_CREDENTIALS, use the machine's service account, "
                "or run 'gcloud auth application-default login'.",
            ) from None
        except (api.GoogleAPIError, OSError) as error:  # requests' errors are OSErrors
            raise Refused(f"{place} cannot be asked: {type(error).__name__}", hint="Check the network.") from None
        return Found(text_of(answer.payload.data, place), answer.name.rpartition("/")[2])

    def _asked(self, credentials: Any) -> Any:  # noqa: ANN401 - untyped libraries
        # not gRPC: its threads do not survive the forks by which commands are started
        manager = library("google.cloud.secretmanager_v1", extra="gcp").SecretManagerServiceClient
        with manager(credentials=credentials, transport="rest") as client:
            newest = f"projects/{self.project}/secrets/{self.secret}/versions/latest"
            return client.access_secret_version(request={"name": newest}, timeout=SECONDS, retry=None)

    def describe(self) -> str:
        """The project and the name."""
        return f"Google Secret Manager {self.project}/{self.secret}"
