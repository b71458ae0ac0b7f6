"""What can be watched. Shared by checks, gates and the monitor: one file a subject, one line in `OneCondition`."""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from deployguard.steps.conditions.base import Condition, Cursor, Look, Observation
from deployguard.steps.conditions.command import Command
from deployguard.steps.conditions.http import Http
from deployguard.steps.conditions.journal import Journal
from deployguard.steps.conditions.log import Log
from deployguard.steps.conditions.machine import Disk, Process
from deployguard.steps.conditions.metric import Metric
from deployguard.steps.conditions.sql import Sql

__all__ = [
    "Command", "Condition", "Cursor", "Disk", "Http", "Journal", "Log", "Look", "Metric", "Observation", "OneCondition",
    "Process", "Sql",
]  # fmt: skip


class OneCondition(BaseModel):
    """Exactly one of log, journal, http, sql, command, metric, disk and process."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What it is called in the record and the report; by default what it looks at."""
    log: Log | None = None
    journal: Journal | None = None
    http: Http | None = None
    sql: Sql | None = None
    command: Command | None = None
    metric: Metric | None = None
    disk: Disk | None = None
    process: Process | None = None
    severity: Literal["fail", "warn"] = "fail"

    @pydantic.model_validator(mode="after")
    def _one(self) -> Self:
        if len(self._given()) != 1:
            raise ValueError("a condition is one of log:, journal:, http:, sql:, command:, metric:, disk: and process:")
        return self

    def condition(self) -> Condition:
        """The one that is given."""
        return self._given()[0]

    def _given(self) -> list[Condition]:
        all_of_them = (
            self.log, self.journal, self.http, self.sql, self.command, self.metric, self.disk, self.process,
        )  # fmt: skip
        return [c for c in all_of_them if c is not None]
