"""deployguard's own folder beside the runbook: who may write there, and what stands where."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from deployguard.errors import NotRecorded, Refused

NAME = ".deployguard"
_BROKEN = {errno.EIO, errno.ENOSPC, errno.EDQUOT}
"""The disk's own refusals: no right that anybody could give would help."""


@dataclass(frozen=True)
class Home:
    """The folder of a project's journal, locks, logs and run folders."""

    path: Path

    @property
    def journal(self) -> Path:
        """The journal's database file."""
        return self.path / "journal.db"

    @property
    def locks(self) -> Path:
        """Folder of the kernel locks, one file per environment."""
        return self.path / "locks"

    @property
    def backups(self) -> Path:
        """Default folder of backups."""
        return self.path / "backups"

    def run(self, run: str) -> Path:
        """The folder of one run, created if it is not there: logs, files handed to steps."""
        return _private(self.path / "runs" / run)

    def relative(self, path: Path) -> str:
        """How the journal names a file in here, so that the folder may be moved."""
        return str(path.relative_to(self.path))


def open_home(path: Path) -> Home:
    """Open the folder, or make it: mode 0700, and ignored by git from within.

    Raises:
        Refused: it is a symbolic link, belongs to somebody else, or others may write to it.
            What is read from there decides what is run, so nothing of it is believed then.
    """
    _private(path)
    for name in ("runs", "locks", "backups"):
        _private(path / name)
    ignore = path / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return Home(path)


def check_home(path: Path) -> None:
    """Refuse a folder that `open_home` would refuse; make nothing."""
    if os.path.lexists(path):
        _refuse_if_shared(path)


def sync_folder(folder: Path) -> None:
    """Make what was created in a folder survive a power cut: a file's own sync says nothing of its name."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _private(path: Path) -> Path:
    missing = [] if path.exists() else [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for made in missing:
            sync_folder(made.parent)
    except FileExistsError as error:
        raise Refused(f"{path} is not a folder", hint="Move it away; deployguard keeps its journal there.") from error
    except OSError as error:
        if error.errno in _BROKEN:
            raise NotRecorded(
                f"{path} cannot be made: {error.strerror}",
                hint="Make room or mend the disk, then run the same command again: nothing is lost.",
            ) from error
        raise Refused(
            f"{path} cannot be made: {error.strerror}",
            hint="Give the user who runs deployguard the right to write there, or set DEPLOYGUARD_HOME.",
        ) from error
    _refuse_if_shared(path)
    return path


def _refuse_if_shared(path: Path) -> None:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        raise Refused(f"{path} is a symbolic link", hint="Replace it by a real folder that only you can write to.")
    if facts.st_uid != os.getuid():
        raise Refused(f"{path} belongs to another user", hint="Run as that user, or set DEPLOYGUARD_HOME elsewhere.")
    if facts.st_mode & 0o022:
        raise Refused(
            f"{path} is writable by others (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"Run 'chmod 0700 {path}' after making sure that nobody else has changed anything in it.",
        )
