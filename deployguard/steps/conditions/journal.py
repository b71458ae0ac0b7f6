"""The system's journal, searched for a pattern."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from deployguard.errors import DeployguardError
from deployguard.process import base_environment
from deployguard.process.piped import Piped, piped
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import JSON, Context
from deployguard.steps.conditions.base import Cursor, Look, Observation
from deployguard.steps.conditions.lines import Lines
from deployguard.visible import visible

Unit = Annotated[str, Field(pattern=r"^[^\s-]\S*$", max_length=255)]
Match = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*=")]


class Journal(Lines):
    """Lines of the system's journal, as `journalctl` gives them; of a message with several lines each is judged."""

    unit: Unit | None = None
    """A unit of systemd, such as `web.service`; without it and `matches`, all that this user may see."""
    matches: tuple[Match, ...] = ()
    """Fields that entries must have: `SYSLOG_IDENTIFIER=web`, `_TRANSPORT=kernel`, `PRIORITY=3`; of several values of
    one field any will do."""
    directory: str | None = None
    """Folder of journal files, from the working copy; by default the machine's own journal."""
    required: bool = True
    """Whether something of it must be in the journal at all: a misspelled unit would hold for ever."""
    timeout: Duration = Field(60.0, gt=0)
    """For each look."""

    def name(self) -> str:
        """The unit or the fields, and what is searched for."""
        return " ".join(["journal", *([self.unit] if self.unit else []), *self.matches, self.searched()])

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:
        """Remember the newest entry, by journald's own cursor; entries after it are read."""
        reader = _Reader(self, context, cursor)

        def look() -> Observation:
            wrong = reader.read()
            if not wrong and self.required and reader.at is None:
                wrong = "the journal holds nothing of it"
            return self.observed(reader.tally, reader.place(), wrong)

        reader.read()
        return look


class _Reader:
    """New entries of a journal that may be rotated and shortened under us."""

    def __init__(self, journal: Journal, context: Context, cursor: Cursor | None) -> None:
        known = cursor or {"at": None, "begun": journal.whole, "gone": False}
        self.tally = journal.tally(cursor)
        self.at: str | None = known["at"]
        self._begun, self._gone = known["begun"], known["gone"]
        self._journal, self._context = journal, context

    def place(self) -> Cursor:
        """Where the next look begins, and whether that entry is known to be gone."""
        return {"at": self.at, "begun": self._begun, "gone": self._gone}

    def read(self) -> str:
        """Count the lines of all new entries; why that could not be done, in words.

        What was counted by then is counted: the next look goes on after it.
        """
        # from the last entry on, not after it: where that is gone, --after-cursor drops the first that is left
        place = ["--lines=1"] if not self._begun else [] if self.at is None else [f"--cursor={self.at}"]
        found = 0
        try:
            with piped(
                [*self._command(), *place], cwd=self._context.target.directory, env=base_environment(),
                timeout=self._journal.timeout,
            ) as journalctl:  # fmt: skip
                for found, line in enumerate(journalctl.writes, 1):
                    self._take(json.loads(line), first=found == 1)
        except DeployguardError as error:
            return error.message
        except (ValueError, KeyError, TypeError):
            return self._late() if journalctl.timed_out else "journalctl wrote something that is no entry"
        if journalctl.timed_out:
            return self._late()
        if journalctl.exit:
            return self._failed(journalctl)
        if not found:
            self._lose()
        self._begun = True
        return ""

    def _command(self) -> list[str]:
        journal = self._journal
        return [
            "journalctl", "--quiet", "--no-pager", "--all", "--output=json", "--output-fields=MESSAGE",
            *([f"--directory={journal.directory}"] if journal.directory is not None else []),
            *([f"--unit={journal.unit}"] if journal.unit is not None else []), *journal.matches,
        ]  # fmt: skip

    def _late(self) -> str:
        return f"journalctl was not done in {self._journal.timeout:g} s"

    def _failed(self, journalctl: Piped) -> str:
        said = visible(self._context.target.masker.mask(journalctl.errors).decode("utf-8", "replace")).splitlines()
        return f"journalctl: exit status {journalctl.exit}" + (f" ({said[0]})" if said else "")

    def _take(self, entry: JSON, *, first: bool) -> None:
        where = entry["__CURSOR"]
        if where == self.at:
            return
        if self._begun:
            if first:
                self._lose()
            self.tally.take(line for text in _texts(entry.get("MESSAGE")) for line in text.splitlines())
        self.at, self._gone = where, False

    def _lose(self) -> None:
        """The entry where the last look ended is gone, and so whatever came right after it: said once."""
        if self.at is not None and not self._gone:
            self.tally.unread += 1
            self._gone = True


def _texts(message: Any) -> Iterator[bytes]:  # noqa: ANN401 - text, bytes as numbers, several of both, or nothing
    if isinstance(message, str):
        yield message.encode()
    elif isinstance(message, list) and message and isinstance(message[0], int):
        yield bytes(message)
    else:
        for each in message or ():
            yield from _texts(each)
