"""`disk.space`: room for the backup, for the copies it is tried on, and for the tokens."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from deployguard.databases.base import Database
from deployguard.databases.server_disk import room_in, room_of
from deployguard.databases.url import parse_url
from deployguard.errors import DeployguardError
from deployguard.runbook.quantities import Size
from deployguard.steps.base import JSON, Check, Context, Outcome
from deployguard.steps.words import ModelField

if TYPE_CHECKING:  # whoever has no database, or no columns, does not pay for them
    from deployguard.rows.growth import Growth

_HINT = "Free some space, or set DEPLOYGUARD_HOME to a larger disk."
_SERVER = "Give the database's disk more room: what does not fit there stops the application too."


@dataclass(frozen=True)
class _Need:
    """What one disk must have free, and for what."""

    place: str
    free: int
    bytes: int
    purpose: str
    hint: str

    def told(self) -> str:
        return f"{self.free // 2**20} MiB free in {self.place}, {self.bytes // 2**20} MiB needed ({self.purpose})"


class DiskSpace(Check):
    """Check that there is room for backups, for the copies they are tried on and for the growth of the rows.

    How much the rows grow is reckoned from the rows themselves: of each table up to 100,000, from
    all over it, and each value's own token. Databases keep old rows beside the new ones until
    they clean up, so the tables count once more. While nobody says which columns are encrypted,
    only the copies count. A server's own disk is looked at where it stands on this machine, or
    where it tells (MariaDB with its plugin `disks`).
    """

    uses: ClassVar[str] = "disk.space"
    example: ClassVar[str] = (
        "- uses: disk.space\n  with: { at_least: 2GiB, factor: 4, columns: [web.Profile.email, web.Profile.phone] }"
    )

    at_least: Size = 512 * 1024 * 1024
    """Bytes that must be free in any case."""
    factor: float = Field(3.0, ge=1)
    """How many copies of the database there will be: the backup, the one it is tried on, two for a rehearsal."""
    columns: tuple[ModelField, ...] = ()
    """app.Model.field of each column that is to be encrypted; by default those that the application encrypts."""

    def execute(self, context: Context) -> Outcome:
        """Compare what is free on each disk with what is needed there."""
        folder = context.target.home.backups
        if context.target.database_url is None:
            return _outcome([_here(folder, self.at_least, "in any case")], {"database": 0}, [])
        with closing(context.target.connect(read_only=True)) as database:
            size, more = database.size(), self._growth(context, database)
            needs, notes = self._needs(context, database, folder, size, more)
        facts: JSON = {"database": size, "growth": vars(more) if more is not None else None}
        return _outcome(needs, facts, notes)

    def _growth(self, context: Context, database: Database) -> "Growth | None":
        from deployguard.rows.growth import growth
        from deployguard.steps.encryption import chosen_columns

        try:
            columns = [(c.table, c.column) for c in chosen_columns(context, self.columns)]
        except DeployguardError:
            return None  # an application that does not start is `django.check`'s to report
        return growth(database, columns) if columns else None

    def _needs(
        self, context: Context, database: Database, folder: Path, size: int, more: "Growth | None"
    ) -> tuple[list[_Need], list[str]]:
        url = context.target.database_url
        assert url is not None, "asked only where there is one"  # noqa: S101
        rows = more.more + more.tables if more is not None else 0
        tokens = f"tokens {more.more // 2**20} MiB, old rows {more.tables // 2**20} MiB" if more is not None else ""
        notes = [] if more is not None else ["how much the rows will grow is known once columns: are, or their code"]
        if parse_url(url).product == "sqlite":
            copies = int(size * self.factor)
            beside = Path(database.identity().database).parent
            same = room_in(beside).device == room_in(folder).device
            needs = [_here(folder, max(self.at_least, copies + rows * same), self._copies(size, tokens * same))]
            return [*needs, *([] if same or not rows else [_here(beside, rows, tokens)])], notes
        # the dump comes here; the scratch copies are databases of the same server
        needs = [_here(folder, max(self.at_least, size), f"a backup of {size // 2**20} MiB")]
        wanted = int(size * (self.factor - 1)) + rows
        room = room_of(database, parse_url(url).host)
        if room is None:
            notes.append(f"the server does not say how much room it has; it needs {wanted // 2**20} MiB")
            return needs, notes
        purpose = f"copies {int(size * (self.factor - 1)) // 2**20} MiB" + (f", {tokens}" if tokens else "")
        return [*needs, _Need(room.place, room.free, wanted, purpose, _SERVER)], notes

    def _copies(self, size: int, tokens: str) -> str:
        copies = f"{self.factor:g} times {size // 2**20} MiB"
        return f"{copies}, {tokens}" if tokens else copies


def _here(folder: Path, wanted: int, purpose: str) -> _Need:
    room = room_in(folder)
    return _Need(room.place, room.free, wanted, purpose, _HINT)


def _outcome(needs: list[_Need], facts: JSON, notes: list[str]) -> Outcome:
    short = [need for need in needs if need.free < need.bytes]
    evidence = {
        **facts, "notes": notes, "free": needs[0].free, "needed": needs[0].bytes, "folder": needs[0].place,
        "disks": [{"place": n.place, "free": n.free, "needed": n.bytes} for n in needs],
    }  # fmt: skip
    summary = "; ".join([*(need.told() for need in short or needs), *notes])
    hint = " ".join(dict.fromkeys(need.hint for need in short))
    return Outcome(summary, "fail" if short else "pass", hint, evidence)
