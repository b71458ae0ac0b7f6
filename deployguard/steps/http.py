"""`http`: a page answers as it should."""

from typing import ClassVar

from deployguard.steps.conditions import Http as Condition
from deployguard.steps.gate import ConditionCheck


class Http(ConditionCheck, Condition):
    """Check once that a page answers as it should."""

    uses: ClassVar[str] = "http"
    pages: ClassVar[tuple[str, ...]] = ("url",)
    example: ClassVar[str] = '- uses: http\n  with: { url: "https://example.org/health", status: 200 }'
