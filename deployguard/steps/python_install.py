"""`python.install`: the application's dependencies, by the tool its project uses."""

import json
import shutil
from pathlib import Path
from typing import ClassVar, Literal

from deployguard.errors import Refused, StepFailed
from deployguard.steps.base import JSON, Context, Outcome, Preview, Step, show

_LIST = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


class PythonInstall(Step):
    """Install what the code needs with uv, poetry or pip, whichever the project uses.

    Undo: the versions that were there are put back, what was added is removed.
    """

    uses: ClassVar[str] = "python.install"
    idempotent: ClassVar[bool] = True
    example: ClassVar[str] = "- id: dependencies\n  uses: python.install"

    tool: Literal["auto", "uv", "poetry", "pip"] = "auto"
    requirements: str = "requirements.txt"
    """For pip: the file of requirements, from the working copy."""

    def preview(self, context: Context) -> Preview:
        """The command; what it will change depends on the code that an earlier step brings."""
        return Preview("unknown", "depends on the requirements of the code that is brought", self.commands(context))

    def commands(self, context: Context) -> tuple[str, ...]:
        """The command, for the record."""
        return (show(self._argv(context)),)

    def capture(self, context: Context) -> JSON:
        """All packages and versions that are installed now."""
        return {"packages": self._installed(context)}

    def execute(self, context: Context) -> Outcome:
        """Run the tool, then say what has changed."""
        before = dict(context.before["packages"])
        argv = self._argv(context)
        result = context.command(argv, env=self._environment(context))
        if result.exit != 0:
            raise StepFailed(
                f"{show(argv)}: {result.describe()}", hint="Its last lines say which package could not be had.",
                command_exit=result.exit, tail=result.tail,
            )  # fmt: skip
        changed = _differences(before, self._installed(context))
        names = ", ".join(f"{n} {new or 'removed'}" for n, (_, new) in sorted(changed.items())) or "nothing to do"
        return Outcome(
            names if len(changed) < 6 else f"{len(changed)} packages changed",  # noqa: PLR2004
            evidence={"tool": self._tool(context), "changed": {n: list(v) for n, v in changed.items()}},
            result=result,
        )

    def compensate(self, context: Context) -> Outcome:
        """Put the former versions back."""
        before: dict[str, str] = dict(context.before["packages"])
        changed = _differences(before, self._installed(context))
        added = sorted(n for n, (old, _) in changed.items() if old is None)
        former = sorted(f"{n}=={old}" for n, (old, _) in changed.items() if old is not None)
        pip = [str(context.target.application.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        for argv in [[*pip, "install", "--quiet", "--no-deps", *former]] * bool(former) + [
            [*pip, "uninstall", "--quiet", "--yes", *added]
        ] * bool(added):
            result = context.command(argv)
            if result.exit != 0:
                raise StepFailed(
                    f"{show(argv)}: {result.describe()}", hint=f"Run it by hand: {show(argv)}", tail=result.tail
                )
        return Outcome(
            f"{len(added)} removed, {len(former)} put back to their former version"
            if changed
            else "nothing had changed"
        )

    def _tool(self, context: Context) -> str:
        directory = context.target.directory
        if self.tool != "auto":
            return self.tool
        if (directory / "uv.lock").exists():
            return "uv"
        if (directory / "poetry.lock").exists():
            return "poetry"
        return "pip"

    def _argv(self, context: Context) -> list[str]:
        tool = self._tool(context)
        if tool == "pip":
            python = str(context.target.application.python)
            return [
                python,
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "--no-input",
                "--quiet",
                "-r",
                self.requirements,
            ]
        if shutil.which(tool) is None:
            raise Refused(
                f"the project uses {tool}, which is not installed here", hint=f"Install {tool}, or say tool: pip."
            )
        return ["uv", "sync", "--frozen"] if tool == "uv" else ["poetry", "install", "--no-interaction", "--sync"]

    def _environment(self, context: Context) -> dict[str, str]:
        # uv and poetry install into the environment that the application runs in, not into deployguard's
        environment = Path(context.target.application.python).parent.parent
        return {"VIRTUAL_ENV": str(environment), "UV_PROJECT_ENVIRONMENT": str(environment)}

    def _installed(self, context: Context) -> dict[str, str]:
        from deployguard.process import base_environment, capture

        python = str(context.target.application.python)
        found = capture([python, "-c", _LIST], cwd=context.target.directory, env=base_environment())
        if found.exit != 0:
            raise StepFailed(f"{python} could not list its packages", hint="Check django: python: in the runbook.")
        packages: dict[str, str] = json.loads(found.stdout)
        return packages


def _differences(before: dict[str, str], now: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    names = before.keys() | now.keys()
    return {n: (before.get(n), now.get(n)) for n in names if before.get(n) != now.get(n)}
