"""A page that answers as it should, and as fast."""

import re
import time
from typing import Annotated, ClassVar

import pydantic
from pydantic import Field

from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Context
from deployguard.steps.conditions.base import Condition, Cursor, Look, Observation, Page

_LARGEST = 1024 * 1024
_REMEMBERED = 100
"""Response times that percentiles are taken from: the latest."""


class Http(Condition):
    """A page that answers as it should."""

    url: Page
    status: int = 200
    contains: str | None = None
    """Text that the first MiB of the body must hold."""
    timeout: Duration = 10.0
    p95: str | None = None
    """A limit for the 95th percentile of the latest 100 response times: `< 300ms`, or `< 1.2 * 250ms`, where
    250ms is `${{ steps.before.outputs.p95 }}` of an `http.baseline` step that ran before the change."""
    p99: str | None = None
    """Likewise for the 99th percentile."""
    p50: str | None = None
    """Likewise for the median."""
    enough: Annotated[int, Field(ge=1)] = 5
    """Answers before a percentile is judged."""

    limit_form: ClassVar[re.Pattern[str]] = re.compile(
        r"<\s*(?:(?P<factor>[0-9.]+)\s*\*\s*)?(?P<number>[0-9.]+)\s*(?P<unit>ms|s)\s*"
    )

    @pydantic.field_validator("p50", "p95", "p99")
    @classmethod
    def _is_limit(cls, value: str | None) -> str | None:
        if value is not None and cls.limit_form.fullmatch(value) is None:
            hint = " (a baseline is taken by a step of kind http.baseline, before the change)" * ("baseline" in value)
            raise ValueError(f"a limit is written '< 300ms' or '< 1.2 * 250ms'{hint}")
        return value

    def name(self) -> str:
        """The address."""
        return f"http {self.url}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:  # noqa: ARG002 - it is asked of the net
        """Look, and judge the latest response times with those of earlier processes."""
        times: list[float] = list((cursor or {}).get("ms", ()))

        def look() -> Observation:
            status, ms, wrong = ask(self)
            if status:
                times.append(round(ms, 1))
                del times[:-_REMEMBERED]
            wrong = wrong or self._too_slow(times)
            return Observation(not wrong, wrong or f"status {status} in {ms:.0f} ms", {"ms": list(times)})

        return look

    def _too_slow(self, times: list[float]) -> str:
        if len(times) < self.enough:
            return ""
        for share, text in ((0.5, self.p50), (0.95, self.p95), (0.99, self.p99)):
            limit = self._limit(text)
            if limit is not None and (seen := percentile(times, share)) >= limit:
                return f"p{share * 100:.0f} {seen:.0f} ms is not below {limit:.0f} ms"
        return ""

    def _limit(self, text: str | None) -> float | None:
        match = self.limit_form.fullmatch(text) if text is not None else None
        if match is None:
            return None
        return float(match["factor"] or 1) * float(match["number"]) * (1 if match["unit"] == "ms" else 1000)


def percentile(times: list[float], share: float) -> float:
    """The smallest time that `share` of them do not exceed: the nearest-rank method."""
    ranked = sorted(times)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def ask(page: Http) -> tuple[int, float, str]:
    """Status, milliseconds, and what is wrong with the answer; status 0 where there was none.

    Bounded in time and size, whatever the server does.
    """
    import httpx

    begun = time.monotonic()
    try:
        with (
            httpx.Client(timeout=page.timeout, follow_redirects=False) as client,
            client.stream("GET", page.url) as answer,
        ):
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _LARGEST or time.monotonic() - begun > page.timeout:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return 0, (time.monotonic() - begun) * 1000, f"no answer ({type(error).__name__})"
    ms = (time.monotonic() - begun) * 1000
    if answer.status_code != page.status:
        return answer.status_code, ms, f"status {answer.status_code}, not {page.status}"
    if page.contains is not None and page.contains.encode() not in body:
        return answer.status_code, ms, "the body lacks the expected text"
    return answer.status_code, ms, ""
