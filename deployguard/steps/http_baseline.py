"""`http.baseline`: how fast a page is before the change."""

from typing import Annotated, ClassVar

from pydantic import Field

from deployguard.errors import StepFailed
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Check, Context, Outcome, Progress
from deployguard.steps.conditions import Http
from deployguard.steps.conditions.base import Page
from deployguard.steps.conditions.http import ask, percentile


class HttpBaseline(Check):
    """Ask a page some times and remember how long it took, for the monitor to compare with.

    Put it before the change; the monitor's limit is then
    `p95: "< 1.2 * ${{ steps.before.outputs.p95 }}"`, measured by the same probe.
    """

    uses: ClassVar[str] = "http.baseline"
    outputs: ClassVar[tuple[str, ...]] = ("p50", "p95", "p99")
    pages: ClassVar[tuple[str, ...]] = ("url",)
    example: ClassVar[str] = '- id: before\n  uses: http.baseline\n  with: { url: "https://example.org/", samples: 50 }'

    url: Page
    samples: Annotated[int, Field(ge=1, le=1000)] = 20
    pause: Duration = 0.1
    """Between two requests."""
    timeout: Duration = 10.0

    def execute(self, context: Context) -> Outcome:
        """Ask `samples` times.

        Raises:
            StepFailed: the page did not answer with status 200.
        """
        page, times = Http(url=self.url, timeout=self.timeout), []
        for number in range(self.samples):
            _, ms, wrong = ask(page)
            if wrong:
                raise StepFailed(
                    f"http {self.url}: {wrong}", hint="Mend the page first: there is nothing to compare with."
                )
            times.append(ms)
            context.pulse(Progress("measuring", number + 1, self.samples, unit="requests"))
            context.target.clock.sleep(self.pause)
        found = {f"p{int(share * 100)}": percentile(times, share) for share in (0.5, 0.95, 0.99)}
        return Outcome(
            ", ".join(f"{name} {ms:.0f} ms" for name, ms in found.items()),
            evidence={name: round(ms, 1) for name, ms in found.items()},
            outputs={name: f"{ms:.1f}ms" for name, ms in found.items()},
        )
