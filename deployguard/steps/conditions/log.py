"""A log file, or what a command prints, searched for a pattern."""

import re
from pathlib import Path
from typing import Annotated, Self

import pydantic
from pydantic import Field

from deployguard.runbook.quantities import Share
from deployguard.steps.base import Context
from deployguard.steps.conditions.base import Condition, Cursor, Look, Observation, Pattern

_CHUNK = 1024 * 1024


class Log(Condition):
    """A log file in which a pattern must not appear (or must)."""

    file: str
    """Path, from the working copy."""
    absent: Pattern | None = None
    """A regular expression that no new line may match."""
    present: Pattern | None = None
    """A regular expression that some line must match."""
    whole: bool = False
    """Look at what is there already too, not only at what is added."""
    share: Share | None = None
    """With `absent`: the part of the new lines that may match all the same, an error rate; 1% is one in a hundred.
    Lines are judged together until there are `enough`."""
    enough: Annotated[int, Field(ge=1)] = 100
    """New lines before their share is judged."""
    required: bool = True
    """Whether the file must be there."""

    @pydantic.model_validator(mode="after")
    def _share_of_what(self) -> Self:
        if self.share is not None and (self.absent is None or self.present is not None):
            raise ValueError("share: is the part of the lines that may match absent:, so it needs absent: only")
        return self

    def name(self) -> str:
        """The file and what it is searched for."""
        return f"log {self.file}" + (f" without {self.absent}" if self.absent else f" with {self.present}")

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:
        """Remember where the file ends now; one that was rotated or shortened is read from its start."""
        path = context.target.directory / self.file
        tail = _Tail(path, cursor, whole=self.whole)
        pattern = re.compile(self.absent or self.present or "")

        def look() -> Observation:
            try:
                if not path.exists():
                    return Observation(not self.required, f"{path.name} is not there", tail.cursor)
                tail.read(pattern)
            except OSError as error:
                return Observation(False, f"{path.name} cannot be read ({type(error).__name__})", tail.cursor)
            # the matching line itself may hold what a user typed: only how many go on record
            if self.share is not None:
                return self._judged(tail)
            good = tail.seen == 0 if self.absent is not None else tail.seen > 0
            return Observation(good, f"{tail.seen} matching lines", tail.cursor)

        return look

    def _judged(self, tail: "_Tail") -> Observation:
        """The share of the lines since the last judgement; fewer than `enough` wait for more."""
        assert self.share is not None, "asked by who has seen it"  # noqa: S101
        if tail.lines < self.enough:
            return Observation(True, f"{tail.seen} of {tail.lines} lines match, too few to judge", tail.cursor)
        good, said = tail.seen <= self.share * tail.lines, f"{tail.seen} of {tail.lines} lines match"
        tail.seen = tail.lines = 0
        return Observation(good, said, tail.cursor)


class _Tail:
    """New lines of a file that may be rotated under us, by this process or the one before."""

    def __init__(self, path: Path, cursor: Cursor | None, *, whole: bool) -> None:
        self._path = path
        if cursor is None:
            inode, size = self._facts()
            cursor = {"inode": inode, "at": 0 if whole else size, "seen": 0}
        self._inode, self._at, self.seen = cursor["inode"], cursor["at"], cursor["seen"]
        self.lines = cursor.get("lines", 0)

    @property
    def cursor(self) -> Cursor:
        return {"inode": self._inode, "at": self._at, "seen": self.seen, "lines": self.lines}

    def _facts(self) -> tuple[int, int]:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return facts.st_ino, facts.st_size

    def read(self, pattern: re.Pattern[str]) -> None:
        """Count matches up to the last whole line; what has no end yet is read again next time."""
        inode, size = self._facts()
        if inode != self._inode:
            self._former(pattern)
        if inode != self._inode or size < self._at:
            self._inode, self._at = inode, 0
        self._count(self._path, pattern)

    def _former(self, pattern: re.Pattern[str]) -> None:
        """The end of a file that was rotated away since the last look, if it is still beside."""
        for path in self._path.parent.glob(f"{self._path.name}*"):
            if path.is_file() and path.stat().st_ino == self._inode:
                self._count(path, pattern)

    def _count(self, path: Path, pattern: re.Pattern[str]) -> None:
        with path.open("rb") as stream:
            stream.seek(self._at)
            while chunk := stream.read(_CHUNK):
                end = chunk.rfind(b"\n") + 1 or (len(chunk) if len(chunk) == _CHUNK else 0)
                if not end:
                    return
                self._at += end
                stream.seek(self._at)
                lines = chunk[:end].splitlines()
                self.lines += len(lines)
                self.seen += sum(1 for line in lines if pattern.search(line.decode("utf-8", "replace")))
