"""The application as seen through its own interpreter.

Its settings, packages and keys are what *it* loads, not what we would guess: the probe runs
there, once for any number of questions, and answers in one line.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployguard.errors import Refused, StepTimedOut
from deployguard.process import Captured, base_environment, capture
from deployguard.secret import Secret

DEADLINE = 90.0
"""Seconds that all answers together may take. A small site needs 0.5; the rest is room for slow imports."""

_PROBE = Path(__file__).with_name("probe.py")

Request = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Application:
    """A Django application: where it stands, what starts it, and what it is given.

    Attributes:
        python: its interpreter, relative to `directory` or absolute. Not resolved, since a
            virtual environment is found by the path of its link.
        manage: its manage.py, likewise.
        env: given to it beside the base environment, and to nobody else.
    """

    python: Path
    manage: Path
    directory: Path
    env: Mapping[str, str | Secret] = field(default_factory=dict)

    def manage_command(self, *args: str) -> list[str]:
        """The argv of a management command."""
        return [str(self.directory.absolute() / self.python), str(self.directory.absolute() / self.manage), *args]

    def environment(self) -> dict[str, str | Secret]:
        """What every process of the application gets. It leaves no bytecode in a tree that must stay as it was."""
        return {**base_environment(), "PYTHONDONTWRITEBYTECODE": "1", **self.env}

    def probe(self, request: Request) -> Answer:
        """One question to the probe."""
        return self.ask(request)[0]

    def ask(self, *requests: Request, timeout: float = DEADLINE, script: Path = _PROBE) -> list[Answer]:
        """Several questions in one start of the application, answered in their order.

        Args:
            requests: what is asked, by `do` of the script's answers.
            timeout: seconds for all of them.
            script: what answers there; the probe, or one that stands on it.

        Raises:
            Refused: the application does not start; says why and where, never with a value.
        """
        nonce = secrets.token_hex(16)
        manage = self._manage_file()
        asked = {"nonce": nonce, "manage": str(manage), "requests": requests}
        captured = self._run(script, json.dumps(asked).encode(), timeout)
        answer = _answer_in(captured.stdout, nonce)
        if answer is None:
            raise Refused(
                f"{manage}: the application ended without an answer (exit status {captured.exit})",
                hint=f"See what it says: {' '.join(self.manage_command('check'))}",
            )
        if "problem" in answer:
            raise refusal(self, answer["problem"])
        answers: list[Answer] = answer["answers"]
        return answers

    def script_command(self, script: Path) -> list[str]:
        """The argv of a script in its interpreter.

        Raises:
            Refused: there is no such application.
        """
        self._check()
        return [self.manage_command()[0], str(script)]

    def _run(self, script: Path, request: bytes, timeout: float) -> Captured:
        try:
            return capture(
                self.script_command(script), cwd=self.directory, env=self.environment(), timeout=timeout, input=request
            )
        except StepTimedOut as error:
            raise Refused(
                f"{self._manage_file()}: the application did not answer within {timeout:g} s",
                hint=f"Something waits while it starts. Time it: {' '.join(self.manage_command('check'))}",
            ) from error

    def _manage_file(self) -> Path:
        return Path(self.manage_command()[1])

    def _check(self) -> None:
        python, manage = (Path(part) for part in self.manage_command())
        if not self.directory.is_dir():
            raise Refused(
                f"{self.directory}: no such directory",
                hint="`django.directory` is where the application is checked out.",
            )
        if not manage.is_file():
            raise Refused(
                f"{manage}: there is no such file", hint="Set `django.manage` to the application's manage.py."
            )
        if not python.is_file():
            raise Refused(
                f"{python}: there is no such interpreter",
                hint="Create the application's virtual environment, or set `django.python` to its interpreter.",
            )
        if not os.access(python, os.X_OK):
            raise Refused(f"{python}: not executable", hint="Set `django.python` to the application's interpreter.")


def _answer_in(output: bytes, nonce: str) -> Answer | None:
    """The one line that carries the nonce; whatever else was printed is not ours."""
    mark = nonce.encode() + b" "
    lines = [line.removeprefix(mark) for line in output.split(b"\n") if line.startswith(mark)]
    if len(lines) != 1:
        return None
    answer: Answer = json.loads(lines[0])
    return answer


def refusal(application: Application, problem: Answer) -> Refused:
    """The reason an application does not start, in its own places and names."""
    command = " ".join(application.manage_command("check"))
    if problem["class"] == "NoDjango":
        python = application.manage_command()[0]
        return Refused(
            f"{python}: Django is not installed for this interpreter",
            hint="Set `django.python` to the application's own interpreter, or install its packages.",
        )
    place = f"{problem['file']}:{problem['line']}" if problem["file"] else str(application.manage)
    what = f"{place}: the application does not start ({problem['class']})"
    names = ", ".join(problem["names"])
    if problem["module"]:
        hint = f"The module {problem['module']} is missing. Install the application's packages for this interpreter."
    elif names and problem["missing"]:
        hint = f"Look at {names}: missing or not usable. Give it to the application as a secret or in its environment."
    else:
        hint = f"See the whole error: {command}"
    return Refused(what, hint=hint)
