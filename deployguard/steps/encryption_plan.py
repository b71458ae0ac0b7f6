"""`encryption.plan`: the dry run. What would be encrypted, how much larger it gets, how long it takes."""

import time
from dataclasses import asdict, dataclass
from typing import ClassVar

from deployguard.keys.sealer import Sealers
from deployguard.rows.only import Only
from deployguard.rows.outlook import Outlook, outlook, window
from deployguard.rows.target import ColumnCount
from deployguard.rows.verify import STRANGE, Verification, verify
from deployguard.runbook.quantities import spell
from deployguard.steps.base import JSON, Check, Context, Outcome, Preview
from deployguard.steps.base import told as measure
from deployguard.steps.column_keys import key_lines, whose_keys
from deployguard.steps.encryption import counts, described, elsewhere_told, to_encrypt, work

_TRIED = 2_000
"""Values that are sealed to learn this machine's speed."""
_SHARE = 0.5
"""Of the time of a rewrite, what sealing takes; measured by benchmarks/rows.py on SQLite."""


class EncryptionPlan(Check):
    """Say what encrypting would do, from every row and this machine's speed, and change nothing.

    By column: values of each class, bytes now and afterwards. By table: how much larger it and its
    indexes become, the room that it may take until old rows are cleaned away, what goes to the log
    that replicas and backups read, what is locked, which triggers fire. And whether the application
    can run meanwhile, or cannot read what is not encrypted yet.
    """

    uses: ClassVar[str] = "encryption.plan"
    example: ClassVar[str] = "- id: dry-run\n  uses: encryption.plan"

    def preview(self, context: Context) -> Preview:
        """The same; it changes nothing."""
        return foreseen(context, took=_measured(context))

    def execute(self, context: Context) -> Outcome:
        """Read every row and count."""
        found, seconds, told = _read(context)
        took = _measured(context) if to_encrypt(found.columns) else None
        bad = described(found, "too wide", "unknown", "nested", *STRANGE)
        return Outcome(
            "; ".join(bad or [_summary(found, seconds, took), *told.lines()]),
            status="fail" if bad else "pass",
            hint="Mend these rows first: encrypting would refuse them." if bad else "",
            evidence={
                "columns": counts(found.columns), "values": to_encrypt(found.columns),
                "growth": _growth(found.columns), "estimate": round(seconds, 1), "measured": took,
                **told.evidence(),
            },
        )  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """What rewriting will mean for others."""

    tables: tuple[Outlook, ...]
    unread: tuple[str, ...]
    keys: tuple[str, ...]
    """Whose keys seal the columns that the runbook's do not."""
    whose: tuple[JSON, ...]
    elsewhere: str

    def lines(self) -> list[str]:
        log = sum(t.log or 0 for t in self.tables)
        firing = [f"{t.table} ({', '.join(t.triggers)})" for t in self.tables if t.triggers and t.rows]
        live = (
            f"needs a maintenance window: the application does not read plaintext of {', '.join(self.unread)}"
            if self.unread
            else "beside the running application"
        )
        return [
            live,
            *self.keys,
            *([self.elsewhere] if self.elsewhere else []),
            *([f"about {log / 2**20:.1f} MiB of {self.tables[0].log_name}"] if log else []),
            *([f"triggers fire for each row of {', '.join(firing)}"] if firing else []),
        ]

    def evidence(self) -> JSON:
        return {
            "tables": [asdict(table) for table in self.tables],
            "maintenance_window": list(self.unread),
            "keys": list(self.whose),
        }


def foreseen(context: Context, some: Only | None = None, took: JSON | None = None) -> Preview:
    """What encrypting would do, as a preview; unknown while the application encrypts nothing.

    Args:
        context: of the step that asks.
        some: the rows that are meant; all by default.
        took: what a rehearsal of it has measured, instead of what is reckoned here.
    """
    if not context.discover().fields:
        return Preview("unknown", "which columns are encrypted is said by code that is not there yet")
    found, seconds, told = _read(context, some)
    values = to_encrypt(found.columns)
    took = took if values else None
    return Preview(
        "would run" if values else "already done",
        "; ".join([_summary(found, seconds, took), *(told.lines() if values else ())]), rows=values,
        bytes=took["growth"] if took else _growth(found.columns),
        seconds=took["seconds"] if took else round(seconds, 1),
        evidence={"columns": counts(found.columns), **told.evidence()},
    )  # fmt: skip


def _read(context: Context, some: Only | None = None) -> tuple[Verification, float, _Told]:
    """What stands in the rows, the seconds that encrypting it takes, and what that means for others."""
    with work(context) as w:
        found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew, some=some)
        told = _Told(
            outlook(w.database, found.columns), window(w.columns), tuple(key_lines(w.columns)),
            tuple(whose_keys(context.target, w.columns)), elsewhere_told(context),
        )  # fmt: skip
        return found, _seconds(found, w.keyring), told


def _measured(context: Context) -> JSON | None:
    """What a rehearsal of the encryption has measured."""
    tried = (m for m in context.measured.values() if m.get("uses") == "encryption.encrypt" and "growth" in m)
    return next(tried, None)


def _summary(found: Verification, seconds: float, took: JSON | None) -> str:
    values, rows = to_encrypt(found.columns), sum(c.rows for c in found.columns)
    if took is not None:
        return f"{values:,} of {rows:,} values to encrypt; measured on a copy: {measure(took)}"
    grown = _growth(found.columns) / 2**20
    return f"{values:,} of {rows:,} values to encrypt, {grown:.1f} MiB more, about {spell(round(seconds + 0.5))}"


def _growth(columns: tuple[ColumnCount, ...]) -> int:
    return sum(column.bytes_after - column.bytes for column in columns)


def _seconds(found: Verification, sealers: Sealers) -> float:
    seconds, spent = 0.0, dict[int, float]()
    for column in found.columns:
        sealer = sealers.of(column.table, column.column)
        if column.plaintext and id(sealer) not in spent:
            sample = [sealer.example] * min(_TRIED, to_encrypt(found.columns))
            begun = time.perf_counter()
            sealer.seal_many(sample)
            spent[id(sealer)] = (time.perf_counter() - begun) / len(sample)
        seconds += spent.get(id(sealer), 0.0) * column.plaintext / _SHARE
    return seconds
