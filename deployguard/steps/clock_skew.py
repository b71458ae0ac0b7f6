"""`clock.skew`: this machine and the database agree on the time, and on what a time without a zone means."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from deployguard.databases.base import Database
from deployguard.databases.pressure import clock_of, knows_zone, zone_of
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Check, Context, Outcome
from deployguard.steps.encryption import opened

Problem = tuple[str, str]


class ClockSkew(Check):
    """Check that this machine's clock and the database server's differ by little, and their time zones not at all.

    Tokens carry the time they were made, and so do reports, approvals and due dates: a wrong
    clock makes them lie. Times without a zone, in logs and columns, mean different moments where
    the zones differ: that is a warning, and so is a MariaDB or MySQL that does not know the
    application's zone by its name. A database that is a file has no clock of its own.
    """

    uses: ClassVar[str] = "clock.skew"
    example: ClassVar[str] = "- uses: clock.skew\n  with: { at_most: 2s }"

    at_most: Duration = Field(2.0, gt=0)
    """The largest difference; how long the question took counts in its favour."""

    def execute(self, context: Context) -> Outcome:
        """Ask the server between two looks at our own clock."""
        clock = context.target.clock
        with opened(context, read_only=True) as database:
            before = clock.now().timestamp()
            theirs = clock_of(database)
            after = clock.now().timestamp()
            if theirs is None:
                return Outcome("the database is a file on this machine and has no clock of its own")
            zones = list(_zones(context, database))
        skew, doubt = theirs - (before + after) / 2, (after - before) / 2
        ahead = "ahead of" if skew > 0 else "behind"
        summary = f"the database's clock is {abs(skew):.2f} s {ahead} this machine's (give or take {doubt:.2f} s)"
        evidence = {"skew": round(skew, 3), "doubt": round(doubt, 3), "zones": [what for what, _ in zones]}
        hints = [fix for _, fix in zones]
        summary = "; ".join([summary, *(what for what, _ in zones)])
        if abs(skew) - doubt > self.at_most:
            hint = "Start time synchronisation (chrony, systemd-timesyncd) on the machine that is wrong."
            return Outcome(summary, "fail", " ".join([hint, *hints]), evidence)
        return Outcome(summary, "warn" if zones else "pass", " ".join(hints), evidence)


def _zones(context: Context, database: Database) -> Iterator[Problem]:
    here = context.target.clock.now().astimezone().utcoffset()
    theirs = zone_of(database)
    if here is not None and theirs is not None and theirs != here.total_seconds():
        hours = (theirs - here.total_seconds()) / 3600
        way = "ahead of" if hours > 0 else "behind"
        yield (
            f"the database's time zone is {abs(hours):g} h {way} this machine's",
            "Set both to UTC, or know which of the two a time without a zone is in.",
        )  # fmt: skip
    if context.target.application_parts is not None:
        name = context.discover().time_zone
        if name and not knows_zone(database, name):
            yield (
                f"the database does not know the application's time zone {name}: Django's dates by day fail",
                "Load the zones: 'mariadb-tzinfo-to-sql /usr/share/zoneinfo | mariadb mysql' (or mysql_tzinfo_to_sql).",
            )  # fmt: skip
