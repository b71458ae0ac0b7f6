"""What S3 and boto3 say, in words that tell what to do.

Source: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from deployguard.errors import ConnectionLost, DeployguardError, Refused, StepFailed
from deployguard.visible import visible

_SERVERS_FAULT = 500
_NO_BUCKET = {"NoSuchBucket", "404"}
_NOT_KNOWN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_NO_LOCK = {"ObjectLockConfigurationNotFoundError"}


def library(name: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
    """A module of the extra `aws`.

    Raises:
        Refused: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise Refused(
            "boto3, which backups in S3 need, is not installed", hint="Install it: pip install 'deployguard[aws]'."
        ) from None


@contextmanager
def explained(place: str, action: str) -> Iterator[None]:
    """Turn what is raised inside into an error with a hint.

    Args:
        place: URL, for the message.
        action: the permission that the work needs.
    """
    errors = library("botocore.exceptions")
    try:
        yield
    except errors.ClientError as error:
        raise _refusal(place, action, error.response) from None
    except (errors.HTTPClientError, errors.ConnectionError, errors.IncompleteReadError) as error:
        raise ConnectionLost(
            f"{place} cannot be reached, or went away ({type(error).__name__})",
            hint="Look at the network and at AWS_ENDPOINT_URL_S3, then try again: what was sent is not sent again.",
        ) from None
    except errors.BotoCoreError as error:
        raise Refused(
            f"{place} cannot be asked ({type(error).__name__})",
            hint="Try 'aws sts get-caller-identity' here: it needs credentials and a region. "
            "The step's env: may name them (AWS_ACCESS_KEY_ID, …).",
        ) from None


def _refusal(place: str, action: str, response: dict[str, Any]) -> DeployguardError:
    code, status = response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
    if code in _NO_BUCKET:
        return Refused(
            f"{place}: there is no such bucket", hint="Check its name, and the region or AWS_ENDPOINT_URL_S3."
        )
    if code in _NO_LOCK:
        return Refused(
            f"{place}: the bucket does not lock objects",
            hint="Object lock is switched on when a bucket is made. Use another bucket, or leave out object_lock:.",
        )
    if code in _NOT_KNOWN:
        return Refused(f"{place}: the credentials are not accepted ({visible(code)})", hint="Renew or correct them.")
    if "Throttl" in code or code == "SlowDown" or status >= _SERVERS_FAULT:
        return StepFailed(f"{place}: the storage could not do it now ({visible(code)})", hint="Try again later.")
    wait = " What is locked can be destroyed once its lock has run out." if "Delete" in action else ""
    return Refused(
        f"{place}: {action} was refused ({visible(code)})",
        hint=f"Allow {action} on the bucket and what is in it; docs/backups.md has the whole list.{wait}",
    )
