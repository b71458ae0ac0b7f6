"""`encryption.verify`: every row is read and every token opened."""

from typing import ClassVar

from deployguard.rows.verify import verify
from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.encryption import counts, described, elsewhere_told, work

_OTHERS = "Deploy to that database too, in an environment of its own: database:."


class EncryptionVerify(Check):
    """Read every row, not the first: each value must be a token that a known key opens."""

    uses: ClassVar[str] = "encryption.verify"
    example: ClassVar[str] = "- id: verify\n  uses: encryption.verify"

    newest_key_only: bool = False
    """Whether a token under an older key is a failure too: before that key is removed."""

    def execute(self, context: Context) -> Outcome:
        """Count every value by class; anything that is not as the application would write it fails."""
        with work(context) as w:
            found = verify(w.database, w.columns, w.keyring, pulse=w.pulse, crew=w.crew)
        evidence = {"columns": counts(found.columns)}
        if not found.ok:
            hint = "'deployguard data scan' names more primary keys; what to do stands beside each."
            return Outcome("; ".join(described(found)), status="fail", hint=hint, evidence=evidence)
        if self.newest_key_only and (older := [f"{c.table}.{c.column}: {c.older:,}" for c in found.columns if c.older]):
            return Outcome(
                f"tokens are under an older key still: {', '.join(older)}",
                status="fail",
                hint="Run 'deployguard data rotate'; keep the old key until this passes.",
                evidence=evidence,
            )
        tokens = sum(c.primary + c.older for c in found.columns)
        rows = sum(c.rows for c in found.columns)
        read = f"{rows:,} values read, {tokens:,} tokens opened, none is plaintext"
        if elsewhere := elsewhere_told(context):
            return Outcome(f"{read}; {elsewhere}", "warn", _OTHERS, evidence)
        return Outcome(read, evidence=evidence)
