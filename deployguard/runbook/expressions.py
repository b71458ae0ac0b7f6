"""`${{ … }}`: evaluated once, strictly. Undefined names are errors, data is never a template."""

import re
from collections.abc import Mapping
from typing import Any

from deployguard.secret import Secret

OPEN, CLOSE = "${{", "}}"
ANY = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
_LONGEST = 65536
_WORDS = "for|while|macro|call|set|import|from|include|extends|block|with|filter|do|def|lambda|if|elif|else|raw"
_STATEMENT = re.compile(rf"\{{%[-+]?\s*({_WORDS})\b")
"""Jinja's own; after another word `{{%` is somebody else's text, such as a format of curl's or date's."""
_CLEVER = re.compile(r"\$\{\{.*\b(for|while|macro|import|include|set|def|lambda)\b.*\}\}|:=", re.DOTALL)
_FOR_SCRIPTS = (
    "Loops, definitions and imports are for a script: put them into one and run: it. "
    "A step is repeated for each item of a list by matrix:, and left out by if:."
)
COMPUTED = "*"
"""Stands in a dotted name for what only evaluation gives."""


class Variables(dict[str, str]):
    """Environment variables, under the name `env`: one that is not set is called by its name."""


class ExpressionError(ValueError):
    """An expression cannot be read or has no value; the message says which name.

    Attributes:
        hint: what to write instead, where that can be said.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class _Revealed(Mapping[str, str]):
    """Secrets by name, revealed at the moment an expression asks."""

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = secrets

    def __getitem__(self, name: str) -> str:
        return self._secrets[name].reveal()

    def __iter__(self) -> Any:  # noqa: ANN401
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)


def has_expression(value: object) -> bool:
    """Whether a string holds `${{`."""
    return isinstance(value, str) and OPEN in value


def names_in(text: str) -> set[tuple[str, ...]]:
    """Dotted names that `text` uses: `("steps", "backup", "outputs", "path")`.

    A part that is not written out, as in `secrets[matrix.tenant]`, is `COMPUTED`.

    Raises:
        ExpressionError: the text is not a template that can be read.
    """
    if statement := _STATEMENT.search(text):
        raise ExpressionError(f"a runbook has no {{% {statement[1]} %}}", hint=_FOR_SCRIPTS)
    from deployguard.runbook.sandbox import names_of

    try:
        return names_of(text)
    except ExpressionError as error:
        hint = _FOR_SCRIPTS if _CLEVER.search(text) else "It is a value: names, filters, comparisons, A if B else C."
        raise ExpressionError(str(error), hint=hint) from None


def render(value: Any, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any YAML value in, the same shape out
    """`value` with every expression in it evaluated; lists and mappings are walked.

    A string that is one expression and nothing else takes the expression's own type.

    Raises:
        ExpressionError: a name has no value, or the sandbox refused.
    """
    if isinstance(value, Mapping):
        return {key: render(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, names) for item in value]
    if not has_expression(value):
        return value
    from deployguard.runbook.sandbox import evaluate

    result = evaluate(value, names)
    if isinstance(result, str) and len(result) > _LONGEST:
        raise ExpressionError(f"the expression's value is longer than {_LONGEST} characters")
    return result


def render_environment(value: str, names: Mapping[str, Any], secrets: Mapping[str, Secret]) -> str | Secret:
    """A value for a process environment: a `Secret` if any secret went into it, else text.

    Raises:
        ExpressionError: see `render`.
    """
    used = sorted({".".join(n[1:]) for n in names_in(value) if n[0] == "secrets"}) if has_expression(value) else []
    result = str(render(value, {**names, "secrets": _Revealed(secrets)}))
    return Secret(result, name="+".join(used)) if used else result


def split_words(text: str) -> list[str]:
    """A command line → words as a POSIX shell splits them, each expression kept whole.

    Splitting comes before evaluating, so that no value can add a word.

    Raises:
        ValueError: a quotation is not closed.
    """
    import shlex

    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"\ue000{len(held) - 1}\ue001"

    words = shlex.split(ANY.sub(hold, text))
    return [re.sub("\ue000(\\d+)\ue001", lambda m: held[int(m[1])], word) for word in words]


def words_of(command: str | list[str] | None, *, shell: bool) -> list[str] | None:
    """A command as it stands in a runbook → argv, or the one text that a shell is given.

    Raises:
        ValueError: a quotation is not closed, or an expression stands in a shell's text.
    """
    if command is None or isinstance(command, list):
        return command
    if not shell:
        return split_words(command)
    if has_expression(command):
        raise ValueError('no expression may stand in the text of a shell command: put it under env: and use "$NAME"')
    return [command]
