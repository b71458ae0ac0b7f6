"""`gate.http`: go on when a page answers as it should."""

from typing import ClassVar

from deployguard.steps.conditions import Http
from deployguard.steps.gate import ConditionGate


class GateHttp(ConditionGate, Http):
    """Wait until a page answers as it should: a change calendar, a status page, a service the change needs."""

    uses: ClassVar[str] = "gate.http"
    pages: ClassVar[tuple[str, ...]] = ("url",)
    example: ClassVar[str] = '- id: ready\n  uses: gate.http\n  with: { url: "https://example.org/ready", within: 5m }'
