"""`gate.metric`: go on when Prometheus says so."""

from typing import ClassVar

from deployguard.steps.conditions import Metric
from deployguard.steps.gate import ConditionGate


class GateMetric(ConditionGate, Metric):
    """Wait until every series of a Prometheus query has a value as expected."""

    uses: ClassVar[str] = "gate.metric"
    pages: ClassVar[tuple[str, ...]] = ("prometheus",)
    example: ClassVar[str] = (
        '- id: calm\n  uses: gate.metric\n  with: { prometheus: "https://prometheus.example.org", '
        "query: 'sum(rate(errors_total[5m]))', expect: \"< 0.1\" }"
    )
