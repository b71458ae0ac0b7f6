"""The kernel's part of "one run per environment": a lock that dies with its holder.

The lock says who is alive; the fencing token in the journal says who is right. Both
are needed: a lock file can be unlinked and made anew, a token alone cannot tell a
dead holder from a slow one.
"""

import errno
import fcntl
import json
import os
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from deployguard.errors import EnvironmentHeld, LeaseLost, Refused
from deployguard.process import started

_LOOKS, _BETWEEN_LOOKS = 50, 0.02


class EnvironmentLock:
    """An exclusive lock on one environment, held until `close()` or death.

    Source: flock(2). The file is never deleted: after locking, its inode is compared
    with what the path names now, so that an unlinked file is not taken for the lock.
    """

    def __init__(self, folder: Path, environment: str, *, about: dict[str, object]) -> None:
        """Take the lock at once or refuse.

        Args:
            folder: where lock files are kept; only its owner may write there.
            environment: any text; it is quoted into a file name.
            about: who holds it, as `about_me` says it, for those who are refused.

        Raises:
            EnvironmentHeld: another process has it; says who, since when, and where.
            Refused: the file system has no locks.
        """
        self._path = folder / f"{quote(environment, safe='')}.lock"
        self._environment = environment
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._lock(about)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self, about: dict[str, object]) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._held() from None
        except OSError as error:
            if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
                raise without_locks(self._path.parent) from error
            raise
        if not self.still_ours():
            raise self._held()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(about).encode(), 0)

    def _held(self) -> EnvironmentHeld:
        return EnvironmentHeld(
            f"the environment {self._environment} is held by {describe(self._present_holder())}",
            hint="Wait for it to end ('deployguard runs' shows it), or stop it there. "
            "A dead holder's lock is free at once.",
        )

    def holder(self) -> dict[str, object]:
        """What the holder wrote about itself; empty when it has not yet."""
        try:
            about = json.loads(os.pread(self._fd, 4096, 0) or b"{}")
        except ValueError:
            return {}
        return about if isinstance(about, dict) else {}

    def _present_holder(self) -> dict[str, object]:
        # between taking the lock and writing about itself, a holder leaves what a dead one wrote, or nothing
        for _ in range(_LOOKS):
            about = self.holder()
            if about and is_alive(about) is not False:
                break
            time.sleep(_BETWEEN_LOOKS)
        return about

    def still_ours(self) -> bool:
        """Whether the path still names the file that we locked."""
        mine = os.fstat(self._fd)
        try:
            named = self._path.lstat()
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino)

    def require(self) -> None:
        """Raise `LeaseLost` unless the lock is still the one that others would meet."""
        if not self.still_ours():
            raise LeaseLost(
                f"the lock file of {self._environment} was removed or replaced while this run held it",
                hint="Find out who did it, then run 'deployguard deploy --resume'.",
            )

    def close(self) -> None:
        """Free the lock; the next starter has it at once, and nobody is told of a holder that is gone."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def without_locks(folder: Path) -> Refused:
    """The error for a place where nobody can be kept out."""
    return Refused(
        f"{folder} is on a file system without locks", hint="Set DEPLOYGUARD_HOME to a folder on a local file system."
    )


def about_me(run: str, since: datetime) -> dict[str, object]:
    """What a holder writes about itself for those who are refused."""
    return {
        "run": run, "pid": os.getpid(), "pid_started": started(os.getpid()), "host": os.uname().nodename,
        "since": since.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }  # fmt: skip


def describe(about: dict[str, object]) -> str:
    """One phrase on a holder: run, process, host, since when, and whether it lives."""
    if not about:
        return "another run that is just starting"
    alive = {True: ", which is alive", False: ", which is gone", None: ""}[is_alive(about)]
    return (
        f"run {about.get('run')} (process {about.get('pid')} on {about.get('host')}{alive}) since {about.get('since')}"
    )


def is_alive(about: dict[str, object]) -> bool | None:
    """Whether a holder's process lives; None when it is on another host. Another process with its number is not it."""
    if about.get("host") != os.uname().nodename:
        return None
    pid = about.get("pid")
    return isinstance(pid, int) and started(pid) == about.get("pid_started")
