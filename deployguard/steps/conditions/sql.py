"""A single number in the database."""

from deployguard.errors import DeployguardError
from deployguard.steps.base import Context
from deployguard.steps.conditions.base import Condition, Cursor, Expected, Look, Observation, holds


class Sql(Condition):
    """A single number in the database."""

    query: str
    """A query that gives one row with one number; it runs in a read-only connection."""
    expect: Expected = 0
    """The number itself, or a comparison such as `< 10`."""

    def name(self) -> str:
        """The query."""
        return f"sql {self.query}"

    def begin(self, context: Context, cursor: Cursor | None = None) -> Look:  # noqa: ARG002 - each look asks anew
        """Nothing to remember: each look asks anew."""

        def look() -> Observation:
            try:
                database = context.target.connect(read_only=True)
            except DeployguardError as error:
                return Observation(False, error.message)
            try:
                value = database.number(self.query)
            except DeployguardError as error:
                return Observation(False, error.message)
            finally:
                database.close()
            return Observation(holds(value, self.expect), f"{value:g}, wanted {self.expect}")

        return look
