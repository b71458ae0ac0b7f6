"""`dependencies.importable`: what the code imports can be imported where it runs."""

import json
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from deployguard.errors import Refused, StepFailed
from deployguard.process import capture
from deployguard.runbook.quantities import Duration
from deployguard.source.files import read_modules
from deployguard.source.imports import required_packages
from deployguard.steps.base import Check, Context, Outcome

# run by the application's interpreter, in the working copy, as manage.py would find packages
_TRY = """
import importlib, json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name or ""
        failed[name] = [type(error).__name__, missing]
out.write(json.dumps(failed))
out.flush()
os._exit(0)
"""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]


class DependenciesImportable(Check):
    """Check with the application's own interpreter that every package its source imports can be imported.

    The packages are read off the import statements; those under `try` or in a function may be
    missing. Each is really imported, since a package can be there and not load.
    """

    uses: ClassVar[str] = "dependencies.importable"
    example: ClassVar[str] = "- uses: dependencies.importable\n  with: { also: [psycopg], optional: [debug_toolbar] }"

    also: tuple[Name, ...] = ()
    """Modules that are needed though no import statement names them, such as database drivers."""
    optional: tuple[Name, ...] = ()
    """Packages that may be missing here, such as those for development."""
    timeout: Duration = Field(90.0, gt=0)
    """For all imports together."""

    def execute(self, context: Context) -> Outcome:
        """Read the source, then import in a process of its own."""
        modules, _ = read_modules(context.target.directory)
        places = {name: at for name, at in required_packages(modules).items() if name not in self.optional}
        wanted = [*places, *(name for name in self.also if name not in places)]
        failed = self._failed(context, wanted)
        evidence = {"imported": len(wanted) - len(failed), "failed": failed}
        if failed:
            told = [
                f"{name} ({places.get(name, 'also:')}): " + (f"{missing} is not installed" if missing else error)
                for name, (error, missing) in failed.items()
            ]
            hint = "Install them where the application runs, or name them in optional: if it starts without."
            return Outcome("; ".join(told), "fail", hint, evidence)
        return Outcome(f"{len(wanted)} packages can be imported", evidence=evidence)

    def _failed(self, context: Context, names: list[str]) -> dict[str, tuple[str, str]]:
        application = context.target.application
        python = application.manage_command()[0]
        if not application.directory.is_dir():
            raise Refused(f"{application.directory}: no such directory", hint="Clone the application there first.")
        found = capture(
            [python, "-c", _TRY, *names],
            cwd=application.directory, env=application.environment(), timeout=self.timeout,
        )  # fmt: skip
        try:
            return {name: (said[0], said[1]) for name, said in json.loads(found.stdout).items()}
        except ValueError:
            raise StepFailed(
                f"{python} ended while it imported packages (exit status {found.exit})",
                hint=f"Import them one by one to see which ends it: {', '.join(names)}.",
            ) from None
