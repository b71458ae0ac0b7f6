"""`run`: any command."""

from pathlib import Path
from typing import ClassVar

from deployguard.errors import StepFailed
from deployguard.process import Result
from deployguard.secret import Secret
from deployguard.steps.base import Context, Outcome, Preview, Step, show


class Run(Step):
    """Run a command; exit status 0 is success.

    In the runbook one writes `run: COMMAND`, with `shell:`, `check:`, `idempotent:`,
    `outputs:` and `rollback: { run: … }` beside it. The text is split into words but
    not given to a shell, unless `shell: true` says so.
    """

    uses: ClassVar[str] = "run"
    example: ClassVar[str] = "- id: tests\n  run: python manage.py test\n  timeout: 10m"

    command: list[str]
    shell: bool = False
    done_if: list[str] | None = None
    """A command that exits 0 when the work is done already (`check:`)."""
    harmless_twice: bool = False
    """Running it twice is the same as once (`idempotent:`)."""
    gives: tuple[str, ...] = ()
    """Outputs, written by the command as NAME=VALUE lines to the file $DEPLOYGUARD_OUTPUT (`outputs:`)."""

    def preview(self, context: Context) -> Preview:
        """The command; what it would do, only it knows."""
        if self.done_if is not None and self.is_done(context):
            return Preview("already done", commands=self.commands(context))
        return Preview(commands=self.commands(context))

    def commands(self, context: Context) -> tuple[str, ...]:  # noqa: ARG002 - a kind that needs the context may use it
        """The command, for the record."""
        return (self.command[0] if self.shell else show(self.command),)

    def repeatable(self) -> bool:
        """Only the runbook knows."""
        return self.harmless_twice

    def is_done(self, context: Context) -> bool | None:
        """What the runbook's own `check:` says, where it has one."""
        if self.done_if is None:
            return None
        return context.command(self._argv(self.done_if), env=_environment(context)).exit == 0

    def execute(self, context: Context) -> Outcome:
        """Run it to its end."""
        given = context.folder / f"{context.step}.outputs" if self.gives and context.folder is not None else None
        try:
            result = self._run(context, given)
            return Outcome(
                f"exit status 0 in {result.seconds:.1f} s", result=result, outputs=self._outputs(context, given)
            )
        finally:
            # it may hold a secret: only its masked values go on record
            if given is not None:
                given.unlink(missing_ok=True)

    def _run(self, context: Context, given: Path | None) -> Result:
        env = _environment(context)
        if given is not None:
            env["DEPLOYGUARD_OUTPUT"] = str(_empty(given))
        result = context.command(self._argv(self.command), env=env)
        if result.exit != 0:
            raise StepFailed(
                f"{context.target.masker.mask_text(self.commands(context)[0])}: {result.describe()}",
                hint="Its last lines say why.", command_exit=result.exit, tail=result.tail,
            )  # fmt: skip
        return result

    def _argv(self, words: list[str]) -> list[str]:
        return ["/bin/sh", "-eu", "-c", words[0]] if self.shell else words

    def _outputs(self, context: Context, given: Path | None) -> dict[str, str]:
        if given is None:
            return {}
        lines = given.read_text("utf-8", errors="replace").splitlines() if given.exists() else []
        written = dict(line.split("=", 1) for line in lines if "=" in line)
        missing = [name for name in self.gives if name not in written]
        if missing:
            raise StepFailed(
                f"the command did not give {', '.join(missing)}",
                hint="Have it append NAME=VALUE to the file $DEPLOYGUARD_OUTPUT.",
            )
        return {name: context.target.masker.mask_text(written[name]) for name in self.gives}


def _environment(context: Context) -> dict[str, str | Secret]:
    """`python` in a command means the application's own, where there is one."""
    from deployguard.process import base_environment

    application = context.target.application_parts
    if application is None:
        return {}
    return {"PATH": f"{Path(application.python).parent}:{base_environment().get('PATH', '')}"}


def _empty(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path
