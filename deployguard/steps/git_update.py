"""`git.update`: the working copy at the wanted commit, and back."""

from typing import ClassVar

from deployguard.errors import StepFailed
from deployguard.steps.base import JSON, Context, Outcome, Preview, Step
from deployguard.working_copy import WorkingCopy


class GitUpdate(Step):
    """Fetch, and fast-forward the working copy to the commit of this run.

    Undo: back to the commit that was there, unless somebody has edited files since.
    """

    uses: ClassVar[str] = "git.update"
    idempotent: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("commit", "previous")
    example: ClassVar[str] = "- id: code\n  uses: git.update"

    to: str | None = None
    """A commit, branch or tag; by default the commit that the plan was made for."""

    def preview(self, context: Context) -> Preview:
        """Which commit, and how far away."""
        commit, head = self._wanted(context), WorkingCopy(context.target.directory).head()
        if commit == head:
            return Preview("already done", f"at {head[:12]} already")
        remote = context.target.remote
        return Preview(
            summary=f"{head[:12]} → {commit[:12]}", commands=(f"git fetch {remote}", f"git merge --ff-only {commit}")
        )

    def commands(self, context: Context) -> tuple[str, ...]:
        """The commands, for the record."""
        return self.preview(context).commands

    def capture(self, context: Context) -> JSON:
        """The commit that is there now."""
        copy = WorkingCopy(context.target.directory)
        return {"commit": copy.head(), "branch": copy.branch()}

    def is_done(self, context: Context) -> bool:
        """Whether the commit is checked out."""
        return WorkingCopy(context.target.directory).head() == self._wanted(context)

    def execute(self, context: Context) -> Outcome:
        """Move forward; never over anything that is not in the new commit."""
        copy, commit = WorkingCopy(context.target.directory), self._wanted(context)
        old = str(context.before["commit"])
        if not copy.knows(commit):
            copy.fetch(context.target.remote)
        if not copy.knows(commit):
            raise StepFailed(f"the commit {commit} did not come with the fetch", hint="Push it to the remote first.")
        if not copy.is_ancestor(copy.head(), commit):
            raise StepFailed(
                f"{commit[:12]} does not contain {copy.head()[:12]}, which is checked out",
                hint="Merge or rebase so that nothing that runs there now is lost.",
            )
        copy.fast_forward(commit)
        commits = copy.count_between(old, commit)
        return Outcome(
            f"{old[:12]} → {commit[:12]} ({commits} commit{'s' if commits != 1 else ''})",
            evidence={"from": old, "to": commit, "subject": copy.subject(commit), "commits": commits},
            outputs={"commit": commit, "previous": old},
        )

    def compensate(self, context: Context) -> Outcome:
        """Move back to the commit that was there."""
        copy, old = WorkingCopy(context.target.directory), str(context.before["commit"])
        head = copy.head()
        if head != old:
            copy.move_back(old)
        return Outcome(f"back at {old[:12]}", evidence={"from": head, "to": old})

    def _wanted(self, context: Context) -> str:
        if self.to is None and context.target.commit is not None:
            return context.target.commit
        target = context.target
        return WorkingCopy(target.directory).resolve(target.remote, target.branch, self.to)
