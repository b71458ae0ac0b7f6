"""Jinja2, sandboxed and strict: what a `${{ … }}` names, and what it is worth. Imported when there is one to read."""

import re
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deployguard.runbook.expressions import ANY, CLOSE, COMPUTED, OPEN, ExpressionError, Variables

_WHOLE = re.compile(r"\s*\$\{\{((?:(?!\}\}).)*)\}\}\s*", re.DOTALL)


class _Unset(StrictUndefined):
    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if isinstance(self._undefined_obj, Variables):
            return f"the environment variable {self._undefined_name} is not set"
        return str(super()._undefined_message)


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - as in jinja2
        """`vars.items` is the var of that name, not a method of Python's."""
        if not isinstance(obj, Mapping):
            return super().getattr(obj, attribute)
        return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)


_jinja = _Environment(
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


def names_of(text: str) -> set[tuple[str, ...]]:
    """Dotted names that a template uses.

    Raises:
        ExpressionError: it cannot be read.
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
    if isinstance(node, nodes.Getattr) and (inner := _dotted(node.node)):
        return (*inner, node.attr)
    if isinstance(node, nodes.Getitem) and (inner := _dotted(node.node)):
        return (*inner, str(node.arg.value) if isinstance(node.arg, nodes.Const) else COMPUTED)
    return ()


def evaluate(text: str, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an expression has its own type
    """The value of text with expressions; of one that is nothing else, in its own type.

    Raises:
        ExpressionError: a name has no value, or the sandbox refused.
    """
    try:
        if (whole := _WHOLE.fullmatch(text)) and len(ANY.findall(text)) == 1:
            result = _jinja.compile_expression(whole[1], undefined_to_none=False)(**names)
            if isinstance(result, StrictUndefined):
                str(result)  # raises with the name
            return result
        return _jinja.from_string(text).render(**names)
    except UndefinedError as error:
        raise ExpressionError(f"{error.message}") from None
    except (SecurityError, TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ExpressionError(f"cannot evaluate the expression ({type(error).__name__})") from None
