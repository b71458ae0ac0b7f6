"""docs/steps.md, made of the step kinds themselves: `python -m deployguard.steps.document > docs/steps.md`."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployguard.steps.base import Step

_HEAD = """\
# Step kinds

Made from the kinds themselves by `python -m deployguard.steps.document > docs/steps.md`; a test keeps it current.
A kind is named by `uses:`, its keys stand under `with:`, and an expression may stand for any of them. A check changes
nothing: preflight runs it, a dry run too, and it may stand under `preflight:` or `steps:`.
"""
_UNITS = {86400: "d", 3600: "h", 60: "m", 1: "s"}
_SIZES = {2**30: "GiB", 2**20: "MiB", 2**10: "KiB"}
_QUANTITIES = {"30s": "duration", "500MiB": "size", "1%": "share"}
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no", "null": "nothing"}


def steps_page(kinds: Mapping[str, type[Step]]) -> str:
    """The page, in Markdown."""
    contents = "\n".join(f"- [`{name}`](#{name.replace('.', '')}): {_first(kind)}" for name, kind in kinds.items())
    return "\n".join([_HEAD, contents, *(_section(name, kind) for name, kind in kinds.items())])


def _first(kind: type[Step]) -> str:
    sentence = inspect.cleandoc(kind.__doc__ or "").split("\n\n", maxsplit=1)[0].replace("\n", " ").split(". ")[0]
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _section(name: str, kind: type[Step]) -> str:
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    told = [p for p in paragraphs if not p.startswith("Undo:")]
    undo = next((p for p in paragraphs if p.startswith("Undo:")), _undo(kind))
    parts = [f"\n## {name}\n", "\n\n".join(told), "", undo + " " + _interrupted(kind)]
    parts += ["", *_table(kind)] if kind.model_fields else ["", "It has no keys."]
    for key, model in _inner(kind):
        parts += ["", f"Each of `{key}`:", "", *_table(model)]
    if kind.outputs:
        parts += ["", "Outputs: " + ", ".join(f"`{output}`" for output in kind.outputs) + "."]
    return "\n".join([*parts, "", "```yaml", kind.example, "```"])


def _undo(kind: type[Step]) -> str:
    if kind.check:
        return "It changes nothing, so there is nothing to undo."
    if kind.compensate is Step.compensate:
        return "Undo: none of its own; `rollback:` beside it names one."
    return "Undo: " + " ".join(inspect.cleandoc(kind.compensate.__doc__ or "").split("\n\n", maxsplit=1)[0].split())


def _interrupted(kind: type[Step]) -> str:
    if kind.check or kind.idempotent:
        return "Interrupted, it is executed again."
    return "Interrupted, it is asked whether it is done; where it cannot tell, a person decides."


def _table(model: type[BaseModel]) -> list[str]:
    documented = _documented(model)
    schema = model.model_json_schema(by_alias=True)
    rows = ["| key | what | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        key = field.alias or name
        described = schema["properties"][key]
        cells = (f"`{key}`", _kind_of(described, schema), _default(field, described), documented.get(name, ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _kind_of(described: dict[str, Any], schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if examples := described.get("examples"):
        return _QUANTITIES[str(examples[0])]
    if "$ref" in described:
        return _kind_of(schema["$defs"][described["$ref"].rpartition("/")[2]], schema)
    if "enum" in described:
        return "one of " + ", ".join(f"`{value}`" for value in described["enum"])
    if "const" in described:
        return f"`{described['const']}`"
    if options := described.get("anyOf", described.get("oneOf")):
        kinds = dict.fromkeys(_kind_of(each, schema) for each in options)
        return " or ".join(kind for kind in kinds if kind != "nothing")
    if described.get("type") == "array":
        return f"list of {_kind_of(described.get('items', {}), schema)}"
    if described.get("type") == "object":
        return "keys and values"
    named = described.get("type", "anything")
    return " or ".join(_WORDS.get(each, each) for each in ([named] if isinstance(named, str) else named))


def _default(field: FieldInfo, described: dict[str, Any]) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if described.get("examples") == ["30s", "24h"]:
        value = next((f"{value / size:g}{unit}" for size, unit in _UNITS.items() if value % size == 0), f"{value:g}s")
    elif described.get("examples"):
        value = next((f"{value // size}{unit}" for size, unit in _SIZES.items() if value % size == 0), value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`" if value not in ("", None, (), [], {}) else ""


def _inner(model: type[BaseModel], seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, type[BaseModel]]]:
    """Models inside a kind's fields, each under the key that leads to it."""
    for name, field in model.model_fields.items():
        for each in _models(field.annotation):
            if each.__name__ not in seen:
                seen |= {each.__name__}
                yield field.alias or name, each
                yield from _inner(each, seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - whatever stands behind a colon
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _documented(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field, of the class and those it inherits from; Python itself does not keep it."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each.__module__.startswith("deployguard."):
            body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
            found |= _texts(body) if isinstance(body, ast.ClassDef) else {}
    return found


def _texts(node: ast.ClassDef) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            found[field.target.id] = re.sub(r"\s+", " ", str(text or "")).strip()
    return found


if __name__ == "__main__":
    from deployguard.steps import KINDS

    sys.stdout.write(steps_page(KINDS) + "\n")
