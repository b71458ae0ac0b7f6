"""A log file, searched for a pattern."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from deployguard.steps.base import Context
from deployguard.steps.conditions.base import Cursor, Look, Observation
from deployguard.steps.conditions.lines import Lines, Tally
from deployguard.steps.conditions.rotation import UNREADABLE, File, Place, files_of, opened

_CHUNK = 1024 * 1024
_OPEN = 2
"""So many files, the newest, may still be written to: the log, and the one before it."""


class Log(Lines):
    """Lines of a log file, and of those that it was rotated to between two looks."""

    file: str
    """Path, from the working copy."""
    required: bool = True
    """Whether the file must be there."""

    def name(self) -> str:
        """The file and what it is searched for."""
        return f"log {self.file} {self.searched()}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:
        """Remember where the file ends now; what it has become by the next look is read from there."""
        path = context.target.directory / self.file
        now = int(context.target.clock.now().timestamp() * 1e9)
        tail = _Tail(path, self.tally(cursor), cursor or _beginning(path, now, whole=self.whole))

        def look() -> Observation:
            wrong = ""
            try:
                tail.read()
            except OSError as error:
                wrong = f"{path.name} cannot be read ({type(error).__name__})"
            if not wrong and not path.exists():
                if not self.required and self.present is not None:
                    return Observation(True, f"{path.name} is not there", tail.cursor)
                wrong = f"{path.name} is not there" if self.required else ""
            return self.observed(tail.tally, tail.cursor, wrong)

        return look


def _beginning(path: Path, now: int, *, whole: bool) -> Cursor:
    try:
        with opened(path) as file:
            return asdict(file.place(0 if whole else file.size) if file else Place(written=now))
    except OSError:  # the first look will say why
        return asdict(Place(written=now))


def _place(known: Cursor) -> Place:
    """Of a cursor, also of a former version's, which knew inode and offset."""
    return Place(**{name: known[name] for name in asdict(Place()) if name in known})


class _Tail:
    """New lines of a file that may be rotated, packed and shortened under us, by this process or the one before."""

    def __init__(self, path: Path, tally: Tally, known: Cursor) -> None:
        self._path, self.tally = path, tally
        self._place = _place(known)
        self._former = _place(known["former"]) if known.get("former") else None
        """The file before this one: until its writer has opened the new one, it goes on there."""

    @property
    def cursor(self) -> Cursor:
        """Where the next look begins."""
        former = {"former": asdict(self._former)} if self._former else {}
        return {**asdict(self._place), **former, **self.tally.facts()}

    def read(self) -> None:
        """Count up to the last whole line; what has no end yet is read again next time."""
        with opened(self._path) as file:
            if self._former is None and file is not None and file.is_at(self._place):
                self._place = self._counted(file, self._place.at)
                return
        with files_of(self._path) as files:
            self._end_former(files)
            self._go_on(files)

    def _end_former(self, files: list[File]) -> None:
        former, self._former = self._former, None
        if former is not None and (file := _found(former, files)) is not None:
            with suppress(*UNREADABLE):  # once it was read to its end
                self._counted(file, former.at, ended=True)

    def _go_on(self, files: list[File]) -> None:
        current = files[-1] if files and files[-1].path == self._path else None
        before = current if current and current.is_at(self._place) else _found(self._place, files)
        rotated = [] if before and before is current else _after(before, self._place, files)
        lost = before is None and self._place.inode > 0
        if before is None:
            self._place = Place(written=self._place.written)
        todo = [file for file in dict.fromkeys([before, *rotated, current]) if file is not None]
        for number, file in enumerate(todo):
            at = self._place.at if file is before else 0
            try:
                place = self._counted(file, at, ended=number < len(todo) - _OPEN)
            except UNREADABLE:
                if file is current:
                    raise
                lost = True
            else:
                self._former, self._place = self._place if number else None, place
        self.tally.unread += lost

    def _counted(self, file: File, at: int, *, ended: bool = False) -> Place:
        """Count the lines from a place on, and where they ended. When it raises, nothing is counted."""
        seen, lines, rest = self.tally.seen, self.tally.lines, b""
        try:
            stream = file.plain(at)
            while chunk := stream.read(_CHUNK):
                rest += chunk
                end = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) >= _CHUNK else 0)
                self.tally.take(rest[:end].splitlines())
                at, rest = at + end, rest[end:]
            if ended and rest:
                self.tally.take([rest])
                at += len(rest)
        except UNREADABLE:
            self.tally.seen, self.tally.lines = seen, lines
            raise
        return file.place(at)


def _found(place: Place, files: list[File]) -> File | None:
    """The file of a place among what there is now."""
    if not place.inode:
        return None
    same = next((file for file in files if file.is_at(place)), None)
    return same or next((file for file in files if file.is_copy_of(place)), None)


def _after(before: File | None, place: Place, files: list[File]) -> list[File]:
    """The rotated files that were written after another one, or since a place was; oldest first."""
    rotated = [file for file in files if file.label is not None]
    if before in rotated:
        return rotated[rotated.index(before) + 1 :]
    since = before.written if before else place.written
    return [file for file in rotated if since and file.written > since]
