"""The runbook's grammar as JSON Schema, made from the same classes that read it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from deployguard.runbook.spec import Runbook

Models = Mapping[str, type[BaseModel]]


def runbook_schema(kinds: Models, sources: Models) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of runbooks with these step kinds and secret sources.

    A step's `with:` is checked against its kind, a secret's keys against its source.
    """
    listed: dict[str, type[BaseModel]] = {
        "runbook": Runbook,
        **{f"kind {n}": k for n, k in kinds.items()},
        **{f"source {n}": s for n, s in sources.items()},
    }
    keys, schema = models_json_schema([(model, "validation") for model in listed.values()], by_alias=True)
    definitions = schema["$defs"]
    reference = {name: keys[(model, "validation")] for name, model in listed.items()}
    # beside text that holds an expression, any value of the right type may stand
    expression = {"type": "string", "pattern": r"\$\{\{"}
    for name in [*(f"kind {n}" for n in kinds), *(f"source {n}" for n in sources)]:
        for field in _definition(definitions, reference[name]).get("properties", {}).values():
            _admit(field, expression)
    step = definitions["StepSpec"]
    step["allOf"] = [
        {
            "if": {"properties": {"uses": {"const": name}}, "required": ["uses"]},
            "then": {"properties": {"with": reference[f"kind {name}"]}},
        }
        for name in kinds
        if name != "run"
    ]
    step["properties"]["uses"] = {"enum": sorted(k for k in kinds if k != "run"), "title": "Uses"}
    secret = definitions["SecretFrom"]
    secret["properties"]["from"] = {"enum": sorted(sources), "title": "From"}
    secret["allOf"] = [
        {
            "if": {"properties": {"from": {"const": name}}},
            "then": {"properties": _definition(definitions, reference[f"source {name}"]).get("properties", {})},
        }
        for name in sources
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "deployguard runbook",
        **reference["runbook"],
        "$defs": definitions,
    }


def _definition(definitions: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definitions[reference["$ref"].rsplit("/", 1)[-1]]
    return found


def _admit(field: dict[str, Any], expression: dict[str, Any]) -> None:
    types = field.get("type")
    named = {types} if isinstance(types, str) else set(types or ())
    if "string" not in named and "anyOf" not in field:
        kept = {k: field.pop(k) for k in list(field) if k not in {"title", "description", "default"}}
        field["anyOf"] = [kept, expression]
