"""Where two runbooks differ, in words: for a person who must decide whether to go on with the other one."""

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 60
"""Characters of a value."""
_MOST = 6
"""Differences that are told; more are counted."""


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """`step migrate: with.to was 0063, is 0064; step look is new`.

    Expressions are compared as they are written, so no secret is among the values.
    """
    found = list(_between(_named(old), _named(new), ""))
    more = len(found) - _MOST
    return "; ".join([*found[:_MOST], *([f"and {more} more"] if more > 0 else [])])


def _named(data: Mapping[str, Any]) -> dict[str, Any]:
    """Steps and checks by their ids, so that one that moved is not taken for a change of all."""
    named: dict[str, Any] = {}
    for key, value in data.items():
        if key in {"steps", "preflight"} and isinstance(value, list):
            kind = "step" if key == "steps" else "check"
            named |= {f"{kind} {part.get('id') or part.get('uses')}": part for part in value if isinstance(part, dict)}
            named[f"the order of {key}"] = [part.get("id") or part.get("uses") for part in value]
        elif key not in {"file", "derived"}:
            named[key] = value
    return named


def _between(old: Mapping[str, Any], new: Mapping[str, Any], at: str) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        name = f"{at}{key}"
        if key not in new:
            yield f"{name} is gone"
        elif key not in old:
            yield f"{name} is new"
        elif isinstance(old[key], dict) and isinstance(new[key], dict):
            yield from _between(old[key], new[key], f"{name}: " if not at else f"{name}.")
        elif key in {"the order of steps", "the order of preflight"}:
            if [i for i in old[key] if i in new[key]] != [i for i in new[key] if i in old[key]]:
                yield f"{name} is another"
        elif old[key] != new[key]:
            yield f"{name} was {_short(old[key])}, is {_short(new[key])}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
