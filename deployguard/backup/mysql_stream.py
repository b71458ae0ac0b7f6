"""A dump of mariadb-dump or mysqldump on its way: its snapshot begun, its end complete, its copy unable to act."""

import re

from deployguard.backup.base import Source
from deployguard.errors import StepFailed

SANDBOX = rb"/*M!999999\- enable the sandbox mode */"
"""Keeps a client from carrying out commands of its own that stand in a dump (MDEV-21178); an older one stops at it."""
_BEGUN = re.compile(rb"structure for |\nDROP |\nCREATE |-- Dumping |-- Dump completed")
_COMPLETE = b"-- Dump completed"
_EVENTS = b"-- Dumping events for database "
_AFTER_EVENTS = (b"-- Dumping routines for database ", b"/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE", _COMPLETE)
_ALTERS = re.compile(rb"^ALTER DATABASE `(?:[^`]|``)+` CHARACTER SET (\w+ COLLATE \w+ [^ ]+)$")
_ALTER_THIS = rb"ALTER DATABASE CHARACTER SET \1"
_CHUNK = 64 * 1024


def until_begun(dump: Source) -> bytes:
    """Read until something of the database itself is there: by then the dump's snapshot stands.

    Only the header is written before the program has opened its transaction.
    """
    begin = b""
    while not _BEGUN.search(begin):
        chunk = dump.read1(_CHUNK) if hasattr(dump, "read1") else dump.read(_CHUNK)
        if not chunk:
            break
        begin += chunk
    return begin


class Resumed:
    """A stream of which the beginning has been read already; its end must be the program's own last line."""

    def __init__(self, begin: bytes, rest: Source) -> None:
        self._begin, self._rest = begin, rest
        self._tail = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes.

        Raises:
            StepFailed: the end is there, and it is not the end of a dump.
        """
        if self._begin:
            size = len(self._begin) if size < 0 else size
            data, self._begin = self._begin[:size], self._begin[size:]
        else:
            data = self._rest.read(size)
        if not data and size and _COMPLETE not in self._tail:
            raise StepFailed(
                "the dump ends before its last line", hint="Look at the server's log, then take the backup again."
            )
        self._tail = (self._tail + data)[-200:]
        return data


class ForCopy:
    """A dump fit for a scratch copy, which must act neither on its own nor on the database that it was taken of.

    Events are left out. Where a trigger or routine was made under another character set than the database has
    now, the program writes `ALTER DATABASE` with the original's name before and after it: the name goes, and
    what is left means the database that the dump is restored into.
    """

    def __init__(self, dump: Source) -> None:
        self._dump = dump
        self._rest = b""
        self._skipping = False
        self._ended = False

    def read(self, _size: int = -1, /) -> bytes:
        """Whole lines; none at the end."""
        while not self._ended:
            chunk = self._dump.read(1024 * 1024)
            self._ended = not chunk
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if self._ended:
                lines, self._rest = [*lines, self._rest], b""
            kept = b"".join(_ALTERS.sub(_ALTER_THIS, line) + b"\n" for line in lines if self._keeps(line))
            if kept:
                return kept
        return b""

    def _keeps(self, line: bytes) -> bool:
        # rows cannot begin such a line: line breaks in values are escaped
        if line.startswith(_EVENTS):
            self._skipping = True
        elif line.startswith(_AFTER_EVENTS):
            self._skipping = False
        return not self._skipping
