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
_DIRECTORY = {
    "postgresql": "convert_to(current_setting('data_directory'), 'UTF8')",
    "mariadb": "CAST(@@datadir AS BINARY)",
    "mysql": "CAST(@@datadir AS BINARY)",
}
# a database answers with one number: six bytes of a text are one
_SIX = {
    "postgresql": "SELECT ('x' || encode(substring({0} FROM {1} FOR 6), 'hex'))::bit varying::bit({2})::bigint",
    "mariadb": "SELECT CAST(CONV(HEX(SUBSTRING({0}, {1}, 6)), 16, 10) AS UNSIGNED)",
    "mysql": "SELECT CAST(CONV(HEX(SUBSTRING({0}, {1}, 6)), 16, 10) AS UNSIGNED)",
}
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
    """What the server says, or the disk where it stands if that is this machine's; None where neither can be told."""
    engine = database.identity().engine
    if engine in {"mariadb", "mysql"}:
        try:
            return Room(int(database.number(_DISKS)), "the server's data folder")
        except DeployguardError:
            pass  # without its plugin
    if engine not in _DIRECTORY or not (host in _HERE or host.startswith("/")):
        return None
    folder = _folder(database, engine)
    try:
        return Room(shutil.disk_usage(folder).free, str(folder), folder.stat().st_dev) if folder is not None else None
    except OSError:
        return None  # it listens here, and stands elsewhere: in a container


def free_for(host: str, database: Database) -> int | None:
    """Bytes that are free where a database keeps its data, server or file; None where neither can be told."""
    identity = database.identity()
    room = room_in(Path(identity.database).parent) if identity.engine == "sqlite" else room_of(database, host)
    return None if room is None else room.free


def _folder(database: Database, engine: str) -> Path | None:
    try:
        size = int(database.number(f"SELECT octet_length({_DIRECTORY[engine]})"))
        parts = [_six(database, engine, at, min(6, size - at)) for at in range(0, size, 6)]
    except DeployguardError:
        return None  # this user may not know
    return Path(b"".join(parts).decode("utf-8", "surrogateescape"))


def _six(database: Database, engine: str, at: int, count: int) -> bytes:
    query = _SIX[engine].format(_DIRECTORY[engine], at + 1, count * 8)
    return int(database.number(query)).to_bytes(count, "big")
