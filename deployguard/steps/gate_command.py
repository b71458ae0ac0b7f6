"""`gate.command`: go on when a command ends well."""

from typing import ClassVar

from deployguard.steps.conditions import Command
from deployguard.steps.gate import ConditionGate


class GateCommand(ConditionGate, Command):
    """Wait until a command exits with 0: whatever else decides whether it is time."""

    uses: ClassVar[str] = "gate.command"
    example: ClassVar[str] = "- id: free\n  uses: gate.command\n  with: { command: [./queue-is-empty], within: 10m }"
