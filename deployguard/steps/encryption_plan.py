"""`encryption.plan`: the dry run. What would be encrypted, how much larger it gets, how long it takes."""

import time
from typing import ClassVar

from deployguard.keys.keyring import Keyring
from deployguard.rows.only import Only
from deployguard.rows.target import ColumnCount
from deployguard.rows.verify import Verification, verify
from deployguard.runbook.quantities import spell
from deployguard.steps.base import Check, Context, Outcome, Preview
from deployguard.steps.encryption import counts, described, to_encrypt, work

_TRIED = 2_000
"""Values that are sealed to learn this machine's speed."""
_SHARE = 0.5
"""Of the time of a rewrite, what sealing takes; measured by benchmarks/rows.py on SQLite."""


class EncryptionPlan(Check):
    """Say what encrypting would do, from every row and this machine's speed, and change nothing."""

    uses: ClassVar[str] = "encryption.plan"
    example: ClassVar[str] = "- id: dry-run\n  uses: encryption.plan"

    def preview(self, context: Context) -> Preview:
        """The same; it changes nothing."""
        return foreseen(context)

    def execute(self, context: Context) -> Outcome:
        """Read every row and count."""
        with work(context) as w:
            found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew)
            seconds = _seconds(found, w.keyring)
        bad = described(found, "too wide", "unknown", "foreign", "nested")
        return Outcome(
            "; ".join(bad) or _summary(found, seconds),
            status="fail" if bad else "pass",
            hint="Mend these rows first: encrypting would refuse them." if bad else "",
            evidence={
                "columns": counts(found.columns), "values": to_encrypt(found.columns),
                "growth": _growth(found.columns), "estimate": round(seconds, 1),
            },
        )  # fmt: skip


def foreseen(context: Context, some: Only | None = None) -> Preview:
    """What encrypting would do, as a preview; unknown while the application encrypts nothing."""
    if not context.discover().fields:
        return Preview("unknown", "which columns are encrypted is said by code that is not there yet")
    with work(context) as w:
        found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew, some=some)
        seconds = _seconds(found, w.keyring)
    values = to_encrypt(found.columns)
    return Preview(
        "would run" if values else "already done", _summary(found, seconds), rows=values,
        bytes=_growth(found.columns), seconds=round(seconds, 1), evidence={"columns": counts(found.columns)},
    )  # fmt: skip


def _summary(found: Verification, seconds: float) -> str:
    values, rows = to_encrypt(found.columns), sum(c.rows for c in found.columns)
    grown = _growth(found.columns) / 2**20
    return f"{values:,} of {rows:,} values to encrypt, {grown:.1f} MiB more, about {spell(round(seconds + 0.5))}"


def _growth(columns: tuple[ColumnCount, ...]) -> int:
    return sum(column.bytes_after - column.bytes for column in columns)


def _seconds(found: Verification, keyring: Keyring) -> float:
    values = to_encrypt(found.columns)
    sample = [b"x" * 32] * min(_TRIED, values)
    begun = time.perf_counter()
    keyring.seal_many(sample)
    return (time.perf_counter() - begun) / max(len(sample), 1) * values / _SHARE
