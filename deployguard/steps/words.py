"""Words of several kinds: what people write in settings and how it must look, and how much of a list they are told."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import StringConstraints

ModelField = Annotated[str, StringConstraints(pattern=r"^\w+\.\w+\.\w+$")]
"""app.Model.field"""
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
"""Why something may stay, in words."""
SHOWN = 5
"""Findings that stand in a summary; the report has more of them."""


def some_of(told: Sequence[str]) -> str:
    """The first findings in one sentence, and how many more there are."""
    more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return "; ".join(told[:SHOWN]) + more
