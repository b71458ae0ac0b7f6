"""PostgreSQL's errors in words that quote no row. Source: postgresql.org/docs/current/errcodes-appendix."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from deployguard.errors import ConnectionLost, DeployguardError, Refused, StepFailed

_LOCKED = {"55P03": "a lock was not given up", "40P01": "a deadlock with another session", "40001": "a write conflict"}
_LOST = ("08", "57P0", "25P0")
_TURNED_AWAY = ("password", "authentication", "pg_hba.conf", "does not exist", "connection option", "permission denied")
_NOT_KEPT = "nothing of the last batch was kept."


@contextmanager
def explaining(where: str) -> Iterator[None]:
    """Turn what the driver raises into words that quote no row; `where` is the database, without its password."""
    try:
        yield
    except psycopg.Error as error:
        raise explained(error, where) from None


def explained(error: psycopg.Error, where: str) -> DeployguardError:
    """An error of the driver without what it may quote of a row.

    Args:
        error: as psycopg raised it.
        where: the database, without its password.
    """
    code = error.sqlstate or ""
    what = f"{where} ({code or type(error).__name__}{_named(error)})"
    if not code:
        return _unconnected(error, where)
    if code in _LOCKED:
        return ConnectionLost(f"{what}: {_LOCKED[code]}", hint=f"End the long lock and try again: {_NOT_KEPT}")
    if code.startswith(_LOST):
        return ConnectionLost(f"{what}: the server ended the connection", hint="Try again when it answers.")
    if code == "57014":
        return StepFailed(f"{what}: a statement took too long", hint=f"Is the server busy? Then resume: {_NOT_KEPT}")
    if code == "42501":
        return Refused(
            f"{what}: this user lacks a right on the table, or row-level security hides rows from it",
            hint="Connect as the table's owner, or as a user with BYPASSRLS and the right to read, write and create.",
        )
    if code in {"25006", "28000", "28P01", "3D000"}:
        return Refused(f"{what}: the server does not allow it", hint="Check the database: URL and the user's rights.")
    if code.startswith("53"):
        return StepFailed(f"{what}: the server has no more room", hint=f"Free some, then resume: {_NOT_KEPT}")
    if code == "22001":
        return StepFailed(f"{what}: a value is too long for its column", hint=f"Widen it, then resume: {_NOT_KEPT}")
    if code in {"42P01", "42703"}:
        return StepFailed(f"{what}: a table or column is not there (any more)", hint="Was it renamed or migrated?")
    return StepFailed(f"{what}: the database refused", hint=f"Look at the database, then resume: {_NOT_KEPT}")


def _named(error: psycopg.Error) -> str:
    """Names of what an error is about: they are the schema's, never a row's."""
    named = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
    return "".join(f", {part}" for part in named if part)


def _unconnected(error: psycopg.Error, where: str) -> DeployguardError:
    # libpq gives no code while it connects, only the server's words
    text = str(error)
    for said in _TURNED_AWAY:
        if said in text:
            return Refused(f"{where} does not let us in ({said})", hint="Check the database: URL.")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return ConnectionLost(f"{where} cannot be reached, or ended the connection", hint="Try again when it answers.")
    return StepFailed(f"{where}: {type(error).__name__}", hint="Look at the database, then resume.")
