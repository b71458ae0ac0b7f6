"""`${{ … }}`: Jinja2, sandboxed and strict. Undefined names are errors, data is never a template."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deployguard.secret import Secret

OPEN, CLOSE = "${{", "}}"
_WHOLE = re.compile(r"\s*\$\{\{((?:(?!\}\}).)*)\}\}\s*", re.DOTALL)
_ANY = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
_LONGEST = 65536


class Variables(dict[str, str]):
    """Environment variables, under the name `env`: one that is not set is called by its name."""


class _Unset(StrictUndefined):
    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if isinstance(self._undefined_obj, Variables):
            return f"the environment variable {self._undefined_name} is not set"
        return str(super()._undefined_message)


_jinja = ImmutableSandboxedEnvironment(
    variable_start_string=OPEN,
    variable_end_string=CLOSE,
    # blocks and comments are cleverness for scripts: their marks are made impossible to write
    block_start_string="\0%",
    block_end_string="%\0",
    comment_start_string="\0#",
    comment_end_string="#\0",
    undefined=_Unset,
    autoescape=False,
    keep_trailing_newline=True,
)
_jinja.globals.clear()


class ExpressionError(ValueError):
    """An expression cannot be read or has no value; the message says which name."""


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
    """Dotted names that `text` uses, as far as they are written out: `("steps", "backup", "outputs", "path")`.

    Raises:
        ExpressionError: the text is not a template that can be read.
    """
    try:
        tree = _jinja.parse(text)
    except TemplateError as error:
        raise ExpressionError(f"cannot read the expression: {error.message}") from None
    found: set[tuple[str, ...]] = set()
    inner: set[int] = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        assert isinstance(node, (nodes.Getattr, nodes.Getitem)), "that is what was looked for"  # noqa: S101
        if isinstance(node.node, (nodes.Getattr, nodes.Getitem, nodes.Name)):
            inner.add(id(node.node))
    for name in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name)):
        if id(name) not in inner and (parts := _dotted(name)):
            found.add(parts)
    return found


def _dotted(node: nodes.Node) -> tuple[str, ...]:
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        return (*_dotted(node.node), node.attr)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return (*_dotted(node.node), str(node.arg.value))
    return ()


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
    try:
        if (whole := _WHOLE.fullmatch(value)) and len(_ANY.findall(value)) == 1:
            result = _jinja.compile_expression(whole[1], undefined_to_none=False)(**names)
            if isinstance(result, StrictUndefined):
                str(result)  # raises with the name
        else:
            result = _jinja.from_string(value).render(**names)
    except UndefinedError as error:
        raise ExpressionError(f"{error.message}") from None
    except (SecurityError, TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ExpressionError(f"cannot evaluate the expression ({type(error).__name__})") from None
    if isinstance(result, str) and len(result) > _LONGEST:
        raise ExpressionError(f"the expression's value is longer than {_LONGEST} characters")
    return result


def render_environment(value: str, names: Mapping[str, Any], secrets: Mapping[str, Secret]) -> str | Secret:
    """A value for a process environment: a `Secret` if any secret went into it, else text.

    Raises:
        ExpressionError: see `render`.
    """
    used = sorted({n[1] for n in names_in(value) if n[0] == "secrets" and len(n) > 1}) if has_expression(value) else []
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

    words = shlex.split(_ANY.sub(hold, text))
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
