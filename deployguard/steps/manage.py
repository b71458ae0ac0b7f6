"""What checks ask of the application's manage.py: an answer to read, not output to log."""

from dataclasses import dataclass

from deployguard.process import capture
from deployguard.steps.base import Context

SECONDS = 180.0


@dataclass(frozen=True)
class Answer:
    """What a management command said.

    Attributes:
        lines: of both streams, masked; the errors last.
        out: of stdout alone.
    """

    exit: int
    lines: tuple[str, ...]
    out: str = ""

    def last(self) -> str:
        """The line that usually says why."""
        return next((line.strip() for line in reversed(self.lines) if line.strip()), "no output")


def asked(context: Context, *arguments: str) -> Answer:
    """Run a short management command that changes nothing.

    Raises:
        StepTimedOut: it took more than three minutes.
    """
    application = context.target.application
    found = capture(
        application.manage_command(*arguments, "--no-color"),
        cwd=application.directory,
        env={**application.environment(), **context.env},
        timeout=SECONDS,
    )
    text = b"\n".join([found.stdout, found.stderr]).decode("utf-8", "replace")
    mask = context.target.masker.mask_text
    return Answer(found.exit, tuple(mask(text).splitlines()), mask(found.stdout.decode("utf-8", "replace")))
