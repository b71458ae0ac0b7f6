"""`django.pending_migrations`: models, migrations and the database's schema agree."""

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from deployguard.errors import StepFailed
from deployguard.steps.base import Check, Context, Outcome, show
from deployguard.steps.manage import Answer, asked

_PLANNED = re.compile(r"^\[(?P<applied>X| )\] +(?P<name>\w+\.\w+)")
_CHANGED = re.compile(r"^Migrations for '(\w+)':")
_CONFLICT = re.compile(r"multiple leaf nodes in the migration graph: \((?P<names>.*)\)")
Problem = tuple[str, str]


class DjangoPendingMigrations(Check):
    """Check that every migration is applied, that none conflict, and that the models have not run ahead of them.

    A migration that somebody forgot would be applied by surprise together with the run's own.
    """

    uses: ClassVar[str] = "django.pending_migrations"
    example: ClassVar[str] = "- uses: django.pending_migrations\n  with: { expected: [web.0063_encrypt] }"

    expected: tuple[Annotated[str, StringConstraints(pattern=r"^\w+\.\w+$")], ...] = ()
    """Migrations that need not be applied yet, as app.name; the run itself brings them."""

    def execute(self, context: Context) -> Outcome:
        """Ask Django twice; nothing is written."""
        if context.target.database_url is not None:
            # Django's SQLite would make the file that is not there
            context.target.connect(read_only=True).close()
        made = asked(context, "makemigrations", "--check", "--dry-run", "--noinput")
        problems = _unmade(made)
        if made.exit != 0 and not problems:
            raise _failed(context, "makemigrations --check --dry-run", made)
        plan = asked(context, "showmigrations", "--plan")
        if plan.exit != 0:
            raise _failed(context, "showmigrations --plan", plan)
        listed = [found for line in plan.lines if (found := _PLANNED.match(line))]
        pending = [found["name"] for found in listed if found["applied"] == " "]
        problems += self._unapplied(pending)
        evidence = {"migrations": len(listed), "pending": pending}
        if problems:
            fixes = " ".join(fix for _, fix in problems)
            return Outcome("; ".join(what for what, _ in problems), "fail", fixes, evidence)
        rest = f", {len(pending)} are expected to be pending" if pending else ""
        return Outcome(f"{len(listed) - len(pending)} migrations are applied{rest}", evidence=evidence)

    def _unapplied(self, pending: Sequence[str]) -> list[Problem]:
        surprising = [name for name in pending if name not in self.expected]
        if not surprising:
            return []
        what = f"not applied: {', '.join(surprising)}"
        return [(what, "Apply them in a run of their own first, or name those that this run brings in expected:.")]


def _unmade(answer: Answer) -> list[Problem]:
    if answer.exit == 0:
        return []
    text = " ".join(answer.lines)
    if conflict := _CONFLICT.search(text):
        return [(f"migrations conflict: {conflict['names']}", "Run 'manage.py makemigrations --merge' and commit it.")]
    apps = [found[1] for line in answer.lines if (found := _CHANGED.match(line))]
    if not apps:
        return []
    fix = "Run 'manage.py makemigrations' and commit what it writes."
    return [(f"models have changed without a migration: {', '.join(apps)}", fix)]


def _failed(context: Context, command: str, answer: Answer) -> StepFailed:
    shown = show(context.target.application.manage_command(*command.split()))
    return StepFailed(
        f"manage.py {command} failed (exit status {answer.exit}): {answer.last()}",
        hint=f"Run '{shown}' to see all it says.", command_exit=answer.exit,
    )  # fmt: skip
