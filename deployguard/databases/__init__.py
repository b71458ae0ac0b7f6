"""Database products: one file each, one `case` in `connect`."""

from importlib.util import find_spec
from pathlib import Path

from deployguard.databases.base import Database
from deployguard.databases.url import parse_url
from deployguard.errors import Refused
from deployguard.secret import Secret

__all__ = ["connect"]


def connect(url: str | Secret, *, base: Path, read_only: bool = False) -> Database:
    """Open a database.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, `postgresql://user@host/name`
            or `mysql://user@host/name`; what follows a `?` goes to the driver.
        base: folder that relative paths begin in.
        read_only: change nothing, not even files beside the database.

    Raises:
        Refused: it is absent, cannot be opened, or is of a product that is not known here.
        ConnectionLost: the server does not answer.
    """
    where = parse_url(url)
    match where.product:
        case "sqlite":
            from deployguard.databases.sqlite import Sqlite

            return Sqlite(base / where.database, read_only=read_only)
        case "postgresql":
            _require("psycopg", "postgres")
            from deployguard.databases.postgres import Postgres

            return Postgres(where, read_only=read_only)
        case "mysql":
            _require("pymysql", "mysql")
            from deployguard.databases.mysql import Mysql

            return Mysql(where, read_only=read_only)
        case other:
            raise Refused(
                f"{other!r} is no database product that deployguard knows",
                hint="Write sqlite:///path, postgresql://… or mysql://…",
            )


def _require(driver: str, extra: str) -> None:
    if find_spec(driver) is None:
        raise Refused(f"the database driver {driver} is not installed", hint=f"Run 'pip install deployguard[{extra}]'.")
