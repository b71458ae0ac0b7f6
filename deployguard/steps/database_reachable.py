"""`database.reachable`: the right database, answering, and writable by us."""

from typing import ClassVar

from deployguard.steps.base import Check, Context, Outcome


class DatabaseReachable(Check):
    """Check that the environment's database answers, and say which one it is."""

    uses: ClassVar[str] = "database.reachable"
    example: ClassVar[str] = "- uses: database.reachable"

    def execute(self, context: Context) -> Outcome:
        """Connect for writing, ask its identity, write nothing."""
        database = context.target.connect()
        try:
            identity = database.identity()
        finally:
            database.close()
        return Outcome(
            f"{identity.engine} {identity.version}, {identity.database} on {identity.host}", evidence=vars(identity)
        )
