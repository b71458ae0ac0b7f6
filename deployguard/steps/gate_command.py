"""`gate.command`: go on when a command ends well."""

from typing import ClassVar

from deployguard.steps.base import Context
from deployguard.steps.conditions import Observation
from deployguard.steps.gate import ConditionGate


class GateCommand(ConditionGate):
    """Wait until a command exits with 0: whatever else decides whether it is time."""

    uses: ClassVar[str] = "gate.command"
    example: ClassVar[str] = "- id: free\n  uses: gate.command\n  with: { command: [./queue-is-empty], within: 10m }"

    command: tuple[str, ...]
    """Program and words; it runs in the working copy and is not given to a shell."""

    def look(self, context: Context) -> Observation:
        """Run it once."""
        result = context.command(self.command)
        return Observation(result.exit == 0, f"{self.command[0]}: {result.describe()}")
