"""Errors of MariaDB and MySQL in words that quote no row. Source: mariadb.com/kb/en/mariadb-error-code-reference."""

from collections.abc import Iterator
from contextlib import contextmanager

import pymysql

from deployguard.errors import ConnectionLost, DeployguardError, Refused, StepFailed

_LOCKED = {1205: "a lock was not given up", 1213: "a deadlock with another session"}
_LOST = {0, 1040, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013, 2014, 2055}
_TURNED_AWAY = {1044, 1045, 1049, 1130, 1142, 1143, 1227, 1698}
_READ_ONLY = {1290, 1792, 1836}
_NO_ROOM = {1021, 1114, 1041, 1037, 1038}
_TOO_LONG = {1265, 1406}
_NOT_KEPT = "nothing of the last batch was kept."


@contextmanager
def explaining(where: str) -> Iterator[None]:
    """Turn what the driver raises into words that quote no row; `where` is the database, without its password."""
    try:
        yield
    except pymysql.Error as error:
        raise explained(error, where) from None


def explained(error: pymysql.Error, where: str) -> DeployguardError:
    """An error of the driver without what it may quote of a row.

    Args:
        error: as PyMySQL raised it; its first argument is the server's or the client's number.
        where: the database, without its password.
    """
    code = error.args[0] if error.args and isinstance(error.args[0], int) else -1
    what = f"{where} (error {code})" if code > 0 else where
    if code in _LOCKED:
        return ConnectionLost(f"{what}: {_LOCKED[code]}", hint=f"End the long lock and try again: {_NOT_KEPT}")
    if code in _LOST or (code < 0 and isinstance(error, pymysql.err.InterfaceError)):
        return ConnectionLost(f"{what} cannot be reached, or ended the connection", hint="Try again when it answers.")
    if code in _TURNED_AWAY:
        return Refused(f"{what} does not allow it", hint="Check the database: URL and the user's rights.")
    if code in _READ_ONLY:
        return Refused(f"{what} is read-only, or was opened so", hint="Name the primary server.")
    if code in {1317, 1969, 3024}:
        return StepFailed(f"{what}: a statement took too long", hint=f"Is the server busy? Then resume: {_NOT_KEPT}")
    if code in _NO_ROOM:
        return StepFailed(f"{what}: the server has no more room", hint=f"Free some, then resume: {_NOT_KEPT}")
    if code in _TOO_LONG:
        return StepFailed(f"{what}: a value is too long for its column", hint=f"Widen it, then resume: {_NOT_KEPT}")
    if code in {1054, 1146}:
        return StepFailed(f"{what}: a table or column is not there (any more)", hint="Was it renamed or migrated?")
    return StepFailed(f"{what}: the database refused", hint=f"Look at the database, then resume: {_NOT_KEPT}")
