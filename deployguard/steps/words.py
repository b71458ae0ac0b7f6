"""What people write in several kinds' settings, and how it must look."""

from typing import Annotated

from pydantic import StringConstraints

ModelField = Annotated[str, StringConstraints(pattern=r"^\w+\.\w+\.\w+$")]
"""app.Model.field"""
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
"""Why something may stay, in words."""
