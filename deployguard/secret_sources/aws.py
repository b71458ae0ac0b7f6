"""Secrets in AWS: Secrets Manager, and parameters of Systems Manager."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, ValidationInfo, field_validator

from deployguard.errors import Refused
from deployguard.secret_sources.base import SECONDS, Found, SecretSource, library, text_of
from deployguard.visible import visible

_SERVERS_FAULT = 500
_ABSENT = {"ResourceNotFoundException", "ParameterNotFound", "InvalidRequestException"}


class Aws(SecretSource):
    """`{ from: aws, secret: production/field-key }` or `{ from: aws, parameter: /production/field-key }`."""

    model_config = ConfigDict(validate_default=True)

    source: ClassVar[str] = "aws"

    secret: str = ""
    """Name or ARN in Secrets Manager."""
    parameter: str = ""
    """Name or ARN of a parameter; a SecureString is decrypted."""
    region: str = ""
    """By default as the AWS tools find it, like the credentials."""
    profile: str = ""

    @field_validator("parameter", mode="after")
    @classmethod
    def _one_of_two(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) == bool(info.data.get("secret")):
            raise ValueError("give either secret: or parameter:")
        return value

    def look_up(self, name: str, *, base: Path) -> Found:  # noqa: ARG002 - no file is named
        """The current value and its version."""
        boto3, errors = library("boto3", extra="aws"), library("botocore.exceptions", extra="aws")
        place = f"{self.describe()} (secret {name})"
        session = None
        try:
            session = boto3.session.Session(profile_name=self.profile or None, region_name=self.region or None)
            return self._asked(session, place)
        except errors.ClientError as error:
            code = error.response["Error"]["Code"]
            if "Throttl" in code or error.response["ResponseMetadata"]["HTTPStatusCode"] >= _SERVERS_FAULT:
                raise Refused(f"{place} cannot be asked: {visible(code)}", hint="Try again later.") from None
            raise self._explained(place, code, _identity(session)) from None
        except errors.BotoCoreError as error:
            raise Refused(
                f"{place} cannot be asked: {type(error).__name__}",
                hint="Try 'aws sts get-caller-identity' here: it needs credentials, a region and the network.",
            ) from None

    def _asked(self, session: Any, place: str) -> Found:  # noqa: ANN401 - boto3 makes its classes at run time
        if self.parameter:
            answer = _client(session, "ssm").get_parameter(Name=self.parameter, WithDecryption=True)["Parameter"]
            return Found(answer["Value"], str(answer["Version"]))
        answer = _client(session, "secretsmanager").get_secret_value(SecretId=self.secret)
        text = answer["SecretString"] if "SecretString" in answer else text_of(answer["SecretBinary"], place)
        return Found(text, answer["VersionId"])

    def _explained(self, place: str, code: str, who: str) -> Refused:
        action = "ssm:GetParameter" if self.parameter else "secretsmanager:GetSecretValue"
        wanted = self.parameter or self.secret
        if code in _ABSENT:
            return Refused(
                f"{place} is not there for {who} ({code})",
                hint="Check the name, the region and the account, and that it is not marked for deletion.",
            )
        return Refused(
            f"{place}: {who} was refused {action} ({visible(code)})",
            hint=f"Allow {action} on {wanted} and kms:Decrypt on its key, or renew the credentials if they ran out.",
        )

    def describe(self) -> str:
        """The service and the name."""
        return f"AWS parameter {self.parameter}" if self.parameter else f"AWS secret {self.secret}"


def _client(session: Any, service: str) -> Any:  # noqa: ANN401
    config = library("botocore.config", extra="aws").Config(
        connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 2}
    )
    return session.client(service, config=config)


def _identity(session: Any) -> str:  # noqa: ANN401
    errors = library("botocore.exceptions", extra="aws")
    try:
        return visible(_client(session, "sts").get_caller_identity()["Arn"])
    except (errors.ClientError, errors.BotoCoreError):
        return f"the credentials found by '{session.get_credentials().method}'"
