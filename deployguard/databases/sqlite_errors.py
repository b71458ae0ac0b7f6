"""SQLite's errors in words that quote no row. Source: sqlite.org/rescode.html."""

import sqlite3

from deployguard.errors import ConnectionLost, DeployguardError, Refused, StepFailed


def explained(error: sqlite3.Error, where: str, waited: float) -> DeployguardError:
    """An error of the driver without what it may quote of a row.

    Args:
        error: as sqlite3 raised it.
        where: the file.
        waited: seconds that were given to other writers.
    """
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return Refused(
            f"{where} is not a database that can be read ({name})",
            hint="Check the database: URL; restore a backup if it is damaged.",
        )
    if name.startswith("SQLITE_READONLY"):
        return Refused(
            f"the database {where} is read-only ({name})", hint="Run as its owner, or give write permission."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ConnectionLost(
            f"the database {where} was locked by another writer for {waited:.0f} s",
            hint="End the long transaction and try again.",
        )
    if name.startswith("SQLITE_FULL"):
        return StepFailed(
            f"the disk of {where} is full",
            hint="Free some space, then resume: nothing of the last batch was kept.",
        )
    if name.startswith("SQLITE_CANTOPEN"):
        return Refused(f"the database {where} cannot be opened", hint="Check the path and its permissions.")
    if str(error).startswith(("no such table", "no such column")):
        return StepFailed(f"{where}: a table or column is not there (any more)", hint="Was it renamed or migrated?")
    return StepFailed(
        f"the database {where} refused ({name})",
        hint="Look at the database, then resume: nothing of the last batch was kept.",
    )
