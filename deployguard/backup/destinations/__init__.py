"""Where backups are kept: one file each, one `case` here."""

from collections.abc import Mapping
from pathlib import Path

from deployguard.backup.destinations.base import Destination
from deployguard.errors import UsageError
from deployguard.secret import Secret

__all__ = ["Destination", "destination", "split"]


def destination(
    to: str, *, base: Path, staging: Path, env: Mapping[str, str | Secret] | None = None, lock: str = ""
) -> Destination:
    """The destination of a name as a runbook has it.

    Args:
        to: a folder, or `s3://bucket/prefix`; empty: `staging` itself.
        base: folder that a relative folder begins in.
        staging: private folder where backups are made that go to another machine.
        env: variables that name or open the destination, before those of our own environment.
        lock: how a destination that can is to keep a backup until it expires: `governance` or `compliance`.

    Raises:
        UsageError: it is of no kind that is known here.
        Refused: the library that it needs is not installed.
    """
    scheme, found, rest = to.partition("://")
    match scheme if found else "":
        case "":
            from deployguard.backup.destinations.folder import Folder

            return Folder(base / to if to else staging)
        case "s3":
            from deployguard.backup.destinations.s3 import S3

            return S3.at(rest, staging=staging, env=env or {}, lock=lock)
        case other:
            raise UsageError(f"to: backups cannot be kept at {other}://", hint="Name a folder, or s3://bucket/prefix.")


def split(where: str) -> tuple[str, str]:
    """The destination and the name of a backup, from what `Destination.where` gave."""
    to, _, name = where.rstrip("/").rpartition("/")
    return to or ("/" if where.startswith("/") else "."), name
