"""`django.check`: the application's own system checks."""

from typing import ClassVar

from deployguard.steps.base import Check, Context, Outcome


class DjangoCheck(Check):
    """Run `manage.py check` with the application's own interpreter."""

    uses: ClassVar[str] = "django.check"
    example: ClassVar[str] = "- uses: django.check\n  with: { deploy: true, fail_level: ERROR }"

    deploy: bool = False
    """Also Django's checks for production settings (`--deploy`)."""
    fail_level: str = "ERROR"
    """The least serious message that fails: CRITICAL, ERROR, WARNING, INFO or DEBUG."""

    def execute(self, context: Context) -> Outcome:
        """Start the application and listen to what it says."""
        extra = ["--deploy"] if self.deploy else []
        result = context.manage("check", "--fail-level", self.fail_level, *extra)
        last = result.tail.strip().splitlines()[-1] if result.tail.strip() else "no output"
        if result.exit != 0:
            return Outcome(
                f"manage.py check: {result.describe()}: {last}", status="fail", result=result,
                hint=f"Run '{context.target.application.python} manage.py check' in {context.target.directory}.",
            )  # fmt: skip
        return Outcome(last, result=result)
