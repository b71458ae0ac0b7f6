"""Database products: one file each, one `case` here."""

from importlib.util import find_spec
from pathlib import Path

from deployguard.backup.base import Product
from deployguard.databases.url import parse_url
from deployguard.errors import Refused
from deployguard.secret import Secret


def product(url: str | Secret, *, base: Path, deadline: float = 600.0, keep: Path | None = None) -> Product:
    """How the database of a URL is backed up.

    Args:
        url: as `databases.connect` takes it.
        base: folder that relative paths begin in.
        deadline: seconds that holding the database still may take.
        keep: folder for a former database that is a file; servers keep theirs.

    Raises:
        Refused: it is of a product that cannot be backed up here.
    """
    where = parse_url(url)
    match where.product:
        case "sqlite":
            from deployguard.backup.sqlite import SqliteProduct

            return SqliteProduct(base / where.database, deadline, keep)
        case "postgresql":
            _require("psycopg", "postgres")
            from deployguard.backup.postgres import PostgresProduct

            return PostgresProduct(where, deadline)
        case "mysql":
            _require("pymysql", "mysql")
            from deployguard.backup.mysql import MysqlProduct

            return MysqlProduct(where, deadline)
        case other:
            raise Refused(
                f"{other!r} is no database product that can be backed up here",
                hint="Take the backup with the product's own tools, in a step with run:.",
            )


def _require(driver: str, extra: str) -> None:
    if find_spec(driver) is None:
        raise Refused(f"the database driver {driver} is not installed", hint=f"Run 'pip install deployguard[{extra}]'.")
