"""Database products: one file each, one `case` in `connect`."""

from pathlib import Path

from deployguard.databases.base import Database
from deployguard.databases.url import parse_url
from deployguard.errors import Refused
from deployguard.secret import Secret

__all__ = ["connect"]


def connect(url: str | Secret, *, base: Path, read_only: bool = False) -> Database:
    """Open a database.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`.
        base: folder that relative paths begin in.
        read_only: change nothing, not even files beside the database.

    Raises:
        Refused: it is absent, cannot be opened, or is of a product that is not known here.
    """
    where = parse_url(url)
    match where.product:
        case "sqlite":
            from deployguard.databases.sqlite import Sqlite

            return Sqlite(base / where.database, read_only=read_only)
        case "postgresql" | "mysql":
            raise Refused(
                f"{where.product} databases are not supported yet ({where.shown})",
                hint="This version works on SQLite; docs/limits.md says what is planned.",
            )
        case other:
            raise Refused(
                f"{other!r} is no database product that deployguard knows",
                hint="Write sqlite:///path, postgresql://… or mysql://…",
            )
