"""How much room a disk has left: of this machine, and of a database server where it can be asked or stands here.

Sources: mariadb.com/kb, "Information Schema DISKS Table" (a plugin); postgresql.org/docs/current,
runtime-config-file-locations.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from deployguard.databases.base import Database
from deployguard.errors import DeployguardError

_HERE = {"", "localhost", "127.0.0.1", "::1"}
_DISKS = """
    SELECT available * 1024 FROM information_schema.disks WHERE @@datadir LIKE concat(path, '%')
    ORDER BY length(path) DESC LIMIT 1"""


@dataclass(frozen=True)
class Room:
    """Bytes that are free on a disk.

    Attributes:
        device: number of the disk, where it is one of this machine's.
    """

    free: int
    place: str
    device: int | None = None


def room_in(path: Path) -> Room:
    """Of the disk that a file or folder of this machine is on, or would be on."""
    while not path.exists():
        path = path.parent
    return Room(shutil.disk_usage(path).free, str(path), path.stat().st_dev)


def room_of(database: Database, host: str) -> Room | None:
    """What a server says, or the disk where it or a file stands, if that is this machine's; None where nobody can tell.

    Args:
        database: any.
        host: where it answers, as its URL has it.
    """
    if database.identity().engine in {"mariadb", "mysql"}:
        try:
            return Room(int(database.number(_DISKS)), "the server's data folder")
        except DeployguardError:
            pass  # without its plugin
    folder = database.folder() if host in _HERE or host.startswith("/") else None
    try:
        return Room(shutil.disk_usage(folder).free, str(folder), folder.stat().st_dev) if folder is not None else None
    except OSError:
        return None  # it listens here, and stands elsewhere: in a container
