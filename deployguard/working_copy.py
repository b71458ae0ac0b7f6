"""The application's code where it runs: a git working copy, read and moved with care."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deployguard.errors import Refused, StepFailed
from deployguard.process import base_environment, capture

_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# no prompt, no pager, no refreshed index: asking must not change anything
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat", "LC_ALL": "C"}


@dataclass(frozen=True)
class WorkingCopy:
    """A checked-out tree."""

    directory: Path

    def git(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run git there and return what it printed, without its last line break.

        Raises:
            StepFailed: git is missing, or exited with an error.
        """
        found = self._capture(*arguments, timeout=timeout)
        if found[0] != 0:
            raise StepFailed(
                f"git {arguments[0]} failed in {self.directory} (exit status {found[0]}): {found[2]}",
                hint="Run the command there by hand to see why.",
                command_exit=found[0],
            )
        return found[1]

    def _capture(self, *arguments: str, timeout: float = 120.0) -> tuple[int, str, str]:
        argv = ["git", "-C", str(self.directory), *arguments]
        done = capture(argv, cwd=self.directory, env={**base_environment(), **_QUIET}, timeout=timeout)
        error = done.stderr.decode(errors="replace").strip().splitlines()
        return done.exit, done.stdout.decode(errors="replace").rstrip("\n"), error[-1] if error else ""

    def require(self) -> None:
        """Refuse a folder that is no working copy."""
        if not self.directory.is_dir():
            raise Refused(f"the working copy {self.directory} is not there", hint="Clone the application there first.")
        if self._capture("rev-parse", "--is-inside-work-tree")[1] != "true":
            raise Refused(f"{self.directory} is not a git working copy", hint="Clone the application there first.")

    def head(self) -> str:
        """Full hash of the commit that is checked out."""
        self.require()
        return self.git("rev-parse", "--verify", "HEAD^{commit}")

    def branch(self) -> str | None:
        """Name of the branch that is checked out; None when detached."""
        return self._capture("symbolic-ref", "--short", "-q", "HEAD")[1] or None

    def changed(self) -> list[str]:
        """Paths that differ from the commit or are not known to git; ignored files do not count."""
        self.require()
        # without renames each entry is one path
        entries = self.git("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames").split("\0")
        return [entry[3:] for entry in entries if entry]

    def subject(self, commit: str) -> str:
        """First line of a commit's message."""
        return self.git("log", "-1", "--format=%s", commit)

    def count_between(self, old: str, new: str) -> int:
        """Commits in `new` that are not in `old`."""
        return int(self.git("rev-list", "--count", f"{old}..{new}"))

    def knows(self, commit: str) -> bool:
        """Whether the commit is already here."""
        return self._capture("cat-file", "-e", f"{commit}^{{commit}}")[0] == 0

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`: moving there loses nothing."""
        return self._capture("merge-base", "--is-ancestor", old, new)[0] == 0

    def resolve(self, remote: str, branch: str, wanted: str | None) -> str:
        """Full hash of the commit to deploy, found without changing the working copy.

        Args:
            remote: name of the remote that is asked.
            branch: its branch whose newest commit is meant when nothing is wanted.
            wanted: a hash, branch or tag; None for the branch's newest.

        Raises:
            Refused: the remote does not answer, or has no such commit.
        """
        self.require()
        if wanted is None:
            return self._newest(remote, branch)
        code, found, _ = self._capture("rev-parse", "--verify", "-q", f"{wanted}^{{commit}}")
        if code == 0 and _HASH.fullmatch(wanted):
            return found
        return self._asked(remote, wanted)

    def _newest(self, remote: str, branch: str) -> str:
        code, found, why = self._capture("ls-remote", "--exit-code", "--", remote, f"refs/heads/{branch}")
        if code != 0 or not found:
            raise Refused(
                f"the remote {remote} of {self.directory} did not name the newest commit of {branch}"
                + (f": {why}" if why else ""),
                hint="Check the remote with 'git fetch', and code: remote: and branch: in the runbook.",
            )
        return found.split()[0]

    def _asked(self, remote: str, wanted: str) -> str:
        """Look the commit up in a throw-away repository that borrows this one's objects."""
        code, url, _ = self._capture("remote", "get-url", remote)
        with tempfile.TemporaryDirectory(prefix="deployguard-") as folder:
            scratch = WorkingCopy(Path(folder))
            scratch.git("init", "-q", "--bare")
            objects = self.git("rev-parse", "--path-format=absolute", "--git-path", "objects")
            (Path(folder) / "objects" / "info" / "alternates").write_text(objects + "\n", encoding="utf-8")
            if code == 0:
                scratch._capture("fetch", "-q", "--", url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            code, found, _ = scratch._capture("rev-parse", "--verify", "-q", f"{wanted}^{{commit}}")
        if code != 0:
            raise Refused(
                f"the commit {wanted!r} is neither in {self.directory} nor on its remote {remote}",
                hint="Push it first, or name another with --set commit=HASH.",
            )
        return found

    def fetch(self, remote: str) -> None:
        """Bring the remote's commits here; the checked-out files stay as they are."""
        self.git("fetch", "--quiet", "--tags", "--", remote, timeout=600.0)

    def fast_forward(self, commit: str) -> None:
        """Move to a commit that contains the present one."""
        self.git("merge", "--quiet", "--ff-only", commit)

    def move_back(self, commit: str) -> None:
        """Move to an earlier commit; git refuses when that would overwrite uncommitted work."""
        self.git("reset", "--quiet", "--keep", commit)
