"""`django.deploy_check`: Django's checks for production settings, each message fixed or allowed with a reason."""

import re
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, StringConstraints

from deployguard.errors import StepFailed
from deployguard.steps.base import Check, Context, Outcome, show
from deployguard.steps.manage import asked

_MESSAGE = re.compile(r"^(?P<object>\S.*?): \((?P<id>[\w.]+\.(?P<level>[A-Z])\d+)\) (?P<text>.*)$")
_SERIOUS = {"C", "E", "W"}


class AllowedMessage(BaseModel):
    """A message that may stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[\w.]+\.[CEW]\d+$")]
    """As Django writes it: security.W004."""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]
    """Why it may, in words; the report repeats them."""


class DjangoDeployCheck(Check):
    """Run `manage.py check --deploy` with the application's own settings; warnings fail unless they are allowed."""

    uses: ClassVar[str] = "django.deploy_check"
    example: ClassVar[str] = (
        "- uses: django.deploy_check\n  with:\n    allow:\n"
        "      - { id: security.W004, reason: the proxy in front sets HSTS }"
    )

    allow: tuple[AllowedMessage, ...] = ()
    """Messages that may stay, each with a reason."""

    def execute(self, context: Context) -> Outcome:
        """Read every message by its id."""
        answer = asked(context, "check", "--deploy", "--fail-level", "WARNING")
        messages = [found for line in answer.lines if (found := _MESSAGE.match(line)) and found["level"] in _SERIOUS]
        if answer.exit != 0 and not messages:
            command = show(context.target.application.manage_command("check", "--deploy"))
            raise StepFailed(
                f"manage.py check --deploy failed (exit status {answer.exit}): {answer.last()}",
                hint=f"Run '{command}' to see all it says.", command_exit=answer.exit,
            )  # fmt: skip
        reasons = {each.id: each.reason for each in self.allow}
        left = [found for found in messages if found["id"] not in reasons]
        told = {found["id"]: found["text"] for found in messages}
        evidence = {
            "messages": told,
            "allowed": {id_: reason for id_, reason in reasons.items() if id_ in told},
            "allowed_in_vain": [id_ for id_ in reasons if id_ not in told],
        }
        if left:
            return Outcome(
                "; ".join(f"{m['id']} {m['text']}" for m in left), "fail",
                f"Correct {', '.join(dict.fromkeys(m['id'] for m in left))} in the settings, "
                "or say under allow: why each may stay.", evidence,
            )  # fmt: skip
        allowed = f", {len(told)} messages allowed" if told else ""
        return Outcome(f"settings are fit for production{allowed}", evidence=evidence)
