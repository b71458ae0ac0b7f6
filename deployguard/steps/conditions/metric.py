"""A Prometheus query."""

from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Context
from deployguard.steps.conditions.base import Condition, Cursor, Expected, Look, Observation, Page, holds

_SHOWN = 5


class Metric(Condition):
    """A Prometheus query, every series of which must have a value as expected.

    Source: Prometheus HTTP API, "Instant queries" (`GET /api/v1/query`).
    """

    prometheus: Page
    """The server's address, without /api."""
    query: str
    expect: Expected
    """The number itself, or a comparison such as `< 10`."""
    timeout: Duration = 10.0

    def name(self) -> str:
        """The query."""
        return f"metric {self.query}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:  # noqa: ARG002 - it is asked of the server
        """Each look asks anew. No series is no answer, and so not as expected."""
        return self._ask

    def _ask(self) -> Observation:
        import httpx

        try:
            address = f"{self.prometheus.rstrip('/')}/api/v1/query"
            said = httpx.get(address, params={"query": self.query}, timeout=self.timeout).raise_for_status().json()
            values = [float(series["value"][1]) for series in said["data"]["result"]]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Observation(False, f"Prometheus did not answer ({type(error).__name__})")
        except (KeyError, TypeError, ValueError, IndexError):
            return Observation(False, "Prometheus answered with something that is no instant vector")
        shown = ", ".join(f"{v:g}" for v in values[:_SHOWN]) or "no series"
        good = bool(values) and all(holds(v, self.expect) for v in values)
        return Observation(good, f"{shown}, wanted {self.expect}")
