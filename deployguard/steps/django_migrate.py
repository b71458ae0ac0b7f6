"""`django.migrate`: the schema at a migration, and back at the one before."""

import re
from typing import ClassVar

from deployguard.errors import Refused, StepFailed
from deployguard.process import capture
from deployguard.steps.base import JSON, Context, Outcome, Preview, Step, show

_LINE = re.compile(r"^ *\[(X| )\] +(\S+)", re.MULTILINE)


class DjangoMigrate(Step):
    """Bring one app's schema forward to a migration. The schema changes, the rows do not.

    A schema that is past it already is left alone, unless `backwards` says otherwise: the way
    back drops what later migrations added, with what it holds.

    Undo: back to the migration that was applied before, unless the runbook names one.
    """

    uses: ClassVar[str] = "django.migrate"
    idempotent: ClassVar[bool] = True
    keeps_code: ClassVar[bool] = True
    undone_by_restore: ClassVar[bool] = True
    example: ClassVar[str] = '- id: migrate\n  uses: django.migrate\n  with: { app: web, to: "0063" }'

    app: str
    to: str
    """Name of the migration or its number; `zero` for none."""
    backwards: bool = False
    """Whether later migrations may be undone, with what they added: for a `rollback:` of one's own."""

    def preview(self, context: Context) -> Preview:
        """Which migrations would be applied or undone."""
        command = (show(context.target.application.manage_command("migrate", self.app, self.to)),)
        listed = self._listed(context)
        if self.to != "zero" and not any(name.startswith(self.to) for name, _ in listed):
            return Preview("unknown", f"{self.app} {self.to} comes with code that is not there yet", command)
        if self._at(listed):
            return Preview("already done", f"{self.app} is at {self.to}", command)
        if past := self._past(listed):
            return Preview("unknown", f"{self.app} is past {self.to} already, at {past[-1]}", command)
        names = [n for n, applied in listed if not applied and n[: len(self.to)] <= self.to]
        return Preview(summary=f"{self.app} → {self.to}: {', '.join(names) or 'backwards'}", commands=command)

    def commands(self, context: Context) -> tuple[str, ...]:
        """The command, for the record."""
        return (show(context.target.application.manage_command("migrate", self.app, self.to, "--noinput")),)

    def capture(self, context: Context) -> JSON:
        """The last migration that is applied."""
        return {"migration": _last(self._listed(context))}

    def is_done(self, context: Context) -> bool:
        """Whether the wanted migration is the last one applied."""
        return self._at(self._listed(context))

    def execute(self, context: Context) -> Outcome:
        """Let Django migrate, then look where the schema is.

        Raises:
            Refused: later migrations are applied.
        """
        before = self._listed(context)
        if past := self._past(before):
            raise Refused(
                f"{self.app} is past {self.to} already: {', '.join(past)} would be undone, with what they added",
                hint=f"Say to: {past[-1].partition('_')[0]} in the runbook, or backwards: true if that is meant.",
            )
        context.target.remembered.pop(self._memory, None)
        result = context.manage("migrate", self.app, self.to, "--noinput")
        if result.exit != 0:
            raise StepFailed(
                f"manage.py migrate {self.app} {self.to}: {result.describe()}",
                hint="The last lines of its output say which operation failed.",
                command_exit=result.exit, tail=result.tail,
            )  # fmt: skip
        after = self._listed(context)
        if not self._at(after):
            raise StepFailed(
                f"{self.app} is at {_last(after)} although migrate reported success",
                hint="Look for a router or a fake migration.",
            )
        old, new = {n for n, a in before if a}, {n for n, a in after if a}
        return Outcome(
            f"{self.app}: {_last(before)} → {_last(after)}", result=result,
            evidence={
                "app": self.app, "from": _last(before), "to": _last(after),
                "applied": sorted(new - old), "undone": sorted(old - new),
            },
        )  # fmt: skip

    def compensate(self, context: Context) -> Outcome:
        """Migrate to what was there before."""
        back = DjangoMigrate(app=self.app, to=str(context.before["migration"]), backwards=True)
        if back.is_done(context):
            return Outcome(f"{self.app} is at {back.to}")
        return back.execute(context)

    def _at(self, listed: list[tuple[str, bool]]) -> bool:
        last = _last(listed)
        return last == self.to or (self.to != "zero" and last.startswith(self.to))

    def _past(self, listed: list[tuple[str, bool]]) -> list[str]:
        """Migrations after the wanted one that are applied and may not be undone."""
        if self.backwards or self.to == "zero":
            return []
        wanted = next((i for i, (name, _) in enumerate(listed) if name.startswith(self.to)), len(listed))
        return [name for name, applied in listed[wanted + 1 :] if applied]

    @property
    def _memory(self) -> str:
        return f"migrations of {self.app}"

    def _listed(self, context: Context) -> list[tuple[str, bool]]:
        """The app's migrations in order, and whether each is applied; asked again once a step may have changed them."""
        remembered = context.target.remembered
        if self._memory not in remembered:
            remembered[self._memory] = self._asked(context)
        found: list[tuple[str, bool]] = remembered[self._memory]
        return found

    def _asked(self, context: Context) -> list[tuple[str, bool]]:
        application = context.target.application
        argv = application.manage_command("showmigrations", self.app, "--list", "--no-color")
        found = capture(argv, cwd=application.directory, env=application.environment(), timeout=120.0)
        if found.exit != 0:
            last = context.target.masker.mask_text(
                found.stderr.decode(errors="replace").strip().splitlines()[-1:][0] if found.stderr.strip() else ""
            )
            raise StepFailed(
                f"manage.py showmigrations {self.app} failed (exit status {found.exit}): {last}",
                hint=f"Run '{show(argv)}' in {application.directory}.", command_exit=found.exit,
            )  # fmt: skip
        return [(name, mark == "X") for mark, name in _LINE.findall(found.stdout.decode(errors="replace"))]


def _last(listed: list[tuple[str, bool]]) -> str:
    applied = [name for name, is_applied in listed if is_applied]
    return applied[-1] if applied else "zero"
