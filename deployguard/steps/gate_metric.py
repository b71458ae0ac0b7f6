"""`gate.metric`: go on when Prometheus says so."""

from typing import ClassVar

from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Context
from deployguard.steps.conditions import Observation, holds
from deployguard.steps.gate import ConditionGate


class GateMetric(ConditionGate):
    """Wait until every series of a Prometheus query has a value as expected.

    Source: Prometheus HTTP API, "Instant queries" (`GET /api/v1/query`).
    """

    uses: ClassVar[str] = "gate.metric"
    example: ClassVar[str] = (
        '- id: calm\n  uses: gate.metric\n  with: { prometheus: "https://prometheus.example.org", '
        "query: 'sum(rate(errors_total[5m]))', expect: \"< 0.1\" }"
    )

    prometheus: str
    """The server's address, without /api."""
    query: str
    expect: int | float | str
    """The number itself, or a comparison such as `< 10`."""
    timeout: Duration = 10.0

    def look(self, context: Context) -> Observation:  # noqa: ARG002 - it is asked of the server
        """Ask once. No series is no answer, and so not as expected."""
        import httpx

        try:
            address = f"{self.prometheus.rstrip('/')}/api/v1/query"
            said = httpx.get(address, params={"query": self.query}, timeout=self.timeout).raise_for_status().json()
            values = [float(series["value"][1]) for series in said["data"]["result"]]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Observation(False, f"Prometheus did not answer ({type(error).__name__})")
        except (KeyError, TypeError, ValueError, IndexError):
            return Observation(False, "Prometheus answered with something that is no instant vector")
        shown = ", ".join(f"{v:g}" for v in values[:5]) or "no series"
        return Observation(
            bool(values) and all(holds(v, self.expect) for v in values), f"{shown}, wanted {self.expect}"
        )
