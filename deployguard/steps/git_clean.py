"""`git.clean`: nothing but commits in the working copy."""

from typing import ClassVar

from deployguard.steps.base import Check, Context, Outcome
from deployguard.working_copy import WorkingCopy

_SHOWN = 5


class GitClean(Check):
    """Check that the working copy holds no uncommitted or unknown files."""

    uses: ClassVar[str] = "git.clean"
    example: ClassVar[str] = "- uses: git.clean"

    def execute(self, context: Context) -> Outcome:
        """Ask git; ignored files do not count."""
        copy = WorkingCopy(context.target.directory)
        changed = copy.changed()
        if not changed:
            return Outcome(f"clean at {copy.head()[:12]}", evidence={"commit": copy.head(), "branch": copy.branch()})
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return Outcome(
            f"{len(changed)} uncommitted in {context.target.directory}: {', '.join(changed[:_SHOWN])}{more}",
            status="fail",
            hint="Commit, ignore or remove them: what is deployed must be what was reviewed.",
            evidence={"changed": changed[:100]},
        )
