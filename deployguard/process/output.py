"""What a command writes, held in bounded memory."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from deployguard.masking import Masker
from deployguard.visible import decode, visible

SHOWN_LINES = 40
SHOWN_BYTES = 8 * 1024
LONGEST_LINE = 4 * 1024
LINES_PER_READ = 64
"""A flood is not shown line by line; so many from each end of what one read brought."""


class Output:
    """What a process writes: masked once, then counted, logged, shown, and its two ends kept."""

    def __init__(
        self,
        masker: Masker,
        log: Path | None,
        limit: int,
        on_line: Callable[[str], None] | None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self.written_log: Path | None = None
        self._masked = masker.stream()
        self._first = self._last = b""
        self._log, self._limit, self._file, self._trouble = log, limit, -1, ""
        self._logged = 0
        self._on_output = on_output
        self._on_line, self._line, self._line_size = on_line, b"", 0

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._take(self._masked.feed(data))

    def finish(self) -> None:
        """No more will come."""
        self._take(self._masked.finish())
        if self._on_line is not None and self._line_size:
            self._show(b"")
        if self._log is not None and not self._trouble and self.size > self._logged:
            more = self.size - self._logged
            self._write(f"\n[deployguard: the log is full; {more:,} bytes more are not in it]\n".encode())

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self.size += len(data)
        self.digest.update(data)
        if self._on_output is not None:
            self._on_output(data)
        if len(self._first) < SHOWN_BYTES:
            self._first += data[: SHOWN_BYTES - len(self._first)]
        self._last = (self._last + data if len(data) < SHOWN_BYTES else data)[-SHOWN_BYTES:]
        if self._log is not None and self._logged < self._limit:
            kept = data[: self._limit - self._logged]
            self._write(kept)
            self._logged += len(kept)
        if self._on_line is not None:
            self._lines(data)

    def _write(self, data: bytes) -> None:
        assert self._log is not None  # noqa: S101
        if self._trouble:
            return
        try:
            if self._file < 0:
                self._file = _open_log(self._log)
                self.written_log = self._log
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._trouble = f"[deployguard: the log is incomplete: {error.strerror}]"

    def _lines(self, data: bytes) -> None:
        lines = data.split(b"\n", LINES_PER_READ)
        rest = lines.pop()
        for line in lines:
            self._show(line)
        unseen, *lines = rest.rsplit(b"\n", LINES_PER_READ)
        if unseen and lines:
            number = 1 + unseen.count(b"\n")
            self._tell(f"… {number:,} lines not shown here")
        elif lines:
            self._show(unseen)
        last = lines.pop() if lines else unseen
        for line in lines:
            self._show(line)
        self._line_size += len(last)
        self._line = (self._line + last[:LONGEST_LINE])[:LONGEST_LINE]

    def _show(self, end: bytes) -> None:
        size = self._line_size + len(end)
        line = (self._line + end[:LONGEST_LINE])[:LONGEST_LINE]
        self._line, self._line_size = b"", 0
        if size <= LONGEST_LINE:
            self._tell(visible(decode(line)))
        else:
            self._tell(f"{visible(decode(_whole(line)))}… ({size:,} bytes in this line)")

    def _tell(self, line: str) -> None:
        assert self._on_line is not None  # noqa: S101
        self._on_line(line)

    def head(self) -> str:
        """Its first 8 KiB."""
        return visible(decode(_whole(self._first) if self.size > len(self._first) else self._first))

    def tail(self) -> str:
        """Its last lines, with a note of what was before them."""
        lines = self._last.removesuffix(b"\n").split(b"\n")[-SHOWN_LINES:]
        kept = b"\n".join(lines)
        before = self.size - len(kept) - self._last.endswith(b"\n")
        notes = [f"[… {before:,} bytes before this]"] if before else []
        text = visible(decode(kept.lstrip(_CONTINUING) if before else kept))
        return "\n".join([*notes, text, *([self._trouble] if self._trouble else [])])

    def close(self) -> None:
        """Let go of the log."""
        if self._file >= 0:
            os.close(self._file)


_CONTINUING = bytes(range(0x80, 0xC0))


def _whole(data: bytes) -> bytes:
    """Bytes that were cut off somewhere, without a character of which only the beginning is there."""
    begin = data.rstrip(_CONTINUING)
    if not begin or begin[-1] < 0xC0 or len(data) - len(begin) >= 3:  # noqa: PLR2004 - UTF-8: at most three follow
        return data
    follow = 1 if begin[-1] < 0xE0 else 2 if begin[-1] < 0xF0 else 3  # noqa: PLR2004
    return data if len(data) - len(begin) >= follow else begin[:-1]


def _open_log(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, 0o600)
    os.fchmod(fd, 0o600)
    return fd
