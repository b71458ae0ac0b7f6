"""`encryption.scrub`: the tables' files written anew, and looked at: does former plaintext still stand there?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import ClassVar

from deployguard.databases.residue import Echo
from deployguard.rows.scrub import Looked, look, samples
from deployguard.rows.target import EncryptedColumn
from deployguard.steps.base import Context, Outcome, Preview, Progress, Step
from deployguard.steps.encryption import work


class EncryptionScrub(Step):
    """Write the files of encrypted tables anew, and look whether former plaintext still stands in them.

    Encrypting a row leaves its former value in free pages, dead rows and logs. PostgreSQL's
    tables are locked while this lasts (VACUUM FULL), MariaDB's and MySQL's for a moment at both
    ends (OPTIMIZE TABLE), of SQLite the whole file for writers (VACUUM). Afterwards the files are
    searched for some of the values, as far as they are on this machine and may be read. What
    this does not reach is named: logs, replicas, snapshots.

    Undo: none is needed, no row changes.
    """

    uses: ClassVar[str] = "encryption.scrub"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    example: ClassVar[str] = "- id: scrub\n  uses: encryption.scrub"

    rewrite: bool = True
    """Whether the files are written anew; otherwise they are only looked at."""

    def preview(self, context: Context) -> Preview:
        """What others would notice, and the disk that it takes."""
        with work(context) as desk:
            residue, tables = desk.database.residue(), _tables(desk.columns)
            notices = list(dict.fromkeys(residue.notice(table) for table in tables)) if self.rewrite else []
            room = max((residue.room(table) for table in tables), default=0) if self.rewrite else 0
        return Preview(summary="; ".join(notices) or "files would be looked at", bytes=room)

    def execute(self, context: Context) -> Outcome:
        """Look, write anew, look again."""
        with work(context, writes=self.rewrite) as desk:
            residue, tables = desk.database.residue(), _tables(desk.columns)
            wanted = samples(desk.database, desk.columns, desk.keyring)

            def told(what: str, done: int, total: int) -> None:
                context.pulse(Progress(f"looking at {what}", done >> 20, total >> 20, unit="MiB"))

            residue.flush(tables)
            before = look(residue.places(tables), wanted, told)
            for number, table in enumerate(tables if self.rewrite else ()):
                context.pulse(Progress(f"writing {table} anew", number, len(tables), unit="tables"))
                residue.rewrite(table)
            if self.rewrite:
                residue.settle()
                residue.flush(tables)
            after = look(residue.places(tables), wanted, told)
            echoes = residue.echoes()
        return _outcome(len(wanted), before, after, echoes)


def _tables(columns: Sequence[EncryptedColumn]) -> list[str]:
    return list(dict.fromkeys(column.table for column in columns))


def _outcome(samples_: int, before: Sequence[Looked], after: Sequence[Looked], echoes: Sequence[Echo]) -> Outcome:
    earlier = {looked.what: looked.found for looked in before}
    evidence = {
        "samples": samples_,
        "places": [{**asdict(looked), "before": earlier.get(looked.what, 0)} for looked in after],
        "echoes": [asdict(echo) for echo in echoes],
    }
    if not samples_:
        return Outcome("no encrypted value is long enough to be looked for", "warn", evidence=evidence)
    left, unseen = list(_left(samples_, after)), [looked.what for looked in after if looked.why_not]
    seen = sum(looked.bytes for looked in after) >> 20
    summary = "; ".join(left) or f"none of {samples_} former values stands in {seen:,} MiB of files"
    if unseen:
        summary += f"; not looked at: {', '.join(unseen)}"
    hint = "What stands in logs goes as later changes are written over it; the report has the list." if left else ""
    return Outcome(summary, "warn" if left or unseen else "pass", hint, evidence)


def _left(samples_: int, after: Sequence[Looked]) -> Iterator[str]:
    for looked in after:
        if looked.found:
            where = looked.what if looked.cleaned else f"{looked.what}, which this does not clean"
            yield f"{looked.found} of {samples_} former values stand in {where}"
