"""`folder.private`: deployguard's own folder is ours alone, on a disk that keeps what is written."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from deployguard.runbook.quantities import Size
from deployguard.steps.base import Check, Context, Outcome

Problem = tuple[str, str]
_MOUNTS = Path("/proc/self/mounts")
# their locks or their fsync are not to be relied on. Source: sqlite.org, "How To Corrupt An SQLite Database File", 2.1
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "afs", "ceph", "glusterfs"}
_MEMORY = {"tmpfs", "ramfs"}
_INODES = 1000
_ELSEWHERE = "Set DEPLOYGUARD_HOME to a folder on a local disk."


class FolderPrivate(Check):
    """Check who may write to deployguard's own folder and those above it, and what disk it is on.

    Journal, logs and backups stand there, and what is read from there decides what is run.
    """

    uses: ClassVar[str] = "folder.private"
    example: ClassVar[str] = "- uses: folder.private\n  with: { at_least: 100MiB }"

    at_least: Size = 100 * 1024 * 1024
    """Bytes that must be free for the journal and the logs; `disk.space` looks after backups."""

    def execute(self, context: Context) -> Outcome:
        """Look at the folder, or at where it will be made."""
        home = context.target.home.path.absolute()
        here = next(path for path in (home, *home.parents) if path.exists())
        kind = _filesystem(here)
        disk = os.statvfs(here)
        free = disk.f_bavail * disk.f_frsize
        problems = [*_permissions(home, here), *_disk(here, disk, kind)]
        if free < self.at_least:
            what = f"{free // 2**20} MiB free in {here}, {self.at_least // 2**20} MiB needed"
            problems.append((what, "Free some space, or set DEPLOYGUARD_HOME to a larger disk."))
        evidence = {"folder": str(home), "free": free, "filesystem": kind}
        if problems:
            fixes = " ".join(dict.fromkeys(fix for _, fix in problems))
            return Outcome("; ".join(what for what, _ in problems), "fail", fixes, evidence)
        if kind in _MEMORY:
            what = f"{here} is on {kind}: a restart of the machine would lose the journal"
            return Outcome(what, "warn", _ELSEWHERE, evidence)
        made = "" if here == home else " (not made yet)"
        return Outcome(f"{home}{made} is private, {free // 2**20} MiB free on {kind}", evidence=evidence)


def _permissions(home: Path, here: Path) -> Iterator[Problem]:
    if here == home:
        facts = home.lstat()
        if stat.S_ISLNK(facts.st_mode) or not stat.S_ISDIR(facts.st_mode):
            yield f"{home} is not a real folder", "Move it away; deployguard makes its own."
            return
        if facts.st_uid != os.geteuid():
            yield f"{home} belongs to another user", "Run as that user, or set DEPLOYGUARD_HOME elsewhere."
        if facts.st_mode & 0o077:
            mode = stat.S_IMODE(facts.st_mode)
            yield f"{home} is open to others (mode {mode:04o})", f"Run 'chmod 0700 {home}'."
    if not os.access(here, os.W_OK | os.X_OK):
        yield f"{here} cannot be written to by this user", "Give this user the right, or set DEPLOYGUARD_HOME."
    for folder in here.parents if here == home else (here, *here.parents):
        mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield f"anybody may exchange what is in {folder}", f"Run 'chmod o-w {folder}'."


def _disk(here: Path, disk: os.statvfs_result, kind: str) -> Iterator[Problem]:
    if disk.f_flag & os.ST_RDONLY:
        yield f"{here} is mounted read-only", _ELSEWHERE
    if kind in _REMOTE:
        yield f"{here} is on {kind}, where locks cannot be relied on", _ELSEWHERE
    if disk.f_files and disk.f_favail < _INODES:
        yield f"{disk.f_favail} files can still be made in {here}", "Remove files: the disk is out of inodes."


def _filesystem(path: Path) -> str:
    """Kind of the file system that holds a path; "unknown" where the system does not say."""
    if not _MOUNTS.exists():
        return "unknown"
    found, longest = "unknown", -1
    for line in _MOUNTS.read_text("utf-8", errors="replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        mount = Path(point.replace("\\040", " "))
        if path.resolve().is_relative_to(mount) and len(mount.parts) >= longest:
            found, longest = kind, len(mount.parts)
    return found
