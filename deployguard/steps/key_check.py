"""`key.check`: the key is there, is a key, and is nobody else's."""

from typing import ClassVar

from deployguard.keys.check import parse_key
from deployguard.keys.fingerprint import fingerprint
from deployguard.steps.base import Check, Context, Outcome


class KeyCheck(Check):
    """Check every field-encryption key: present, well formed, not a published example.

    What the key opens is asked by `encryption.readiness`, which sees the tokens.
    """

    uses: ClassVar[str] = "key.check"
    example: ClassVar[str] = "- uses: key.check"

    secrets: tuple[str, ...] = ()
    """Names under secrets:; by default those of encryption: keys:."""

    def execute(self, context: Context) -> Outcome:
        """Fetch each key and look at its form; only a fingerprint goes on record."""
        target = context.target
        names = self.secrets or list(target.keys)
        keys = []
        for name in names:
            key = parse_key(target.secrets.get(name))
            keys.append({"name": name, "fingerprint": fingerprint(key), "source": target.secrets.place(name)})
        if not keys:
            return Outcome(
                "the runbook names no encryption key",
                status="fail",
                hint="Add one under secrets: and encryption: keys:.",
            )
        shown = ", ".join(f"{k['name']} {k['fingerprint']} ({k['source']})" for k in keys)
        return Outcome(shown, evidence={"keys": keys})
