"""YAML → Runbook, or every error in it with file, line, column and a hint."""

import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from deployguard.errors import Problem, RunbookError
from deployguard.runbook.backed import backup_problems
from deployguard.runbook.expressions import COMPUTED, ExpressionError, has_expression, names_in, words_of
from deployguard.runbook.lines import Document, Path_, parse_lines, read_lines
from deployguard.runbook.matrix import matrix_problems
from deployguard.runbook.spec import Compensation, Runbook, SecretFrom, StepSpec

Models = Mapping[str, type[BaseModel]]

ROOTS = ("env", "vars", "secrets", "steps", "environment", "run", "commit", "home", "matrix")
"""Names that expressions may begin with."""


@dataclass(frozen=True)
class LoadedRunbook:
    """A runbook that is valid as far as can be said without an environment.

    Attributes:
        digest: SHA-256 (hex) of the canonical form: the same for the same meaning,
            whatever the comments, the order of keys and the white space.
        data: the canonical form itself, expressions unrendered.
        derived: whether it was made from a file's by a command that works by hand, so
            that no file says the same.
        aside: whether its runs stand aside: they neither wait for other runs of the
            environment nor are in the way of any.
    """

    file: Path
    spec: Runbook
    digest: str
    data: dict[str, Any]
    document: Document
    derived: bool = False
    aside: bool = False

    def line(self, path: Path_) -> int:
        """Line of a part, counted from 1."""
        return self.document.place(path).line


def load_runbook(file: Path, kinds: Models, sources: Models, *, begins: bool) -> LoadedRunbook:
    """Read and check a runbook.

    Args:
        file: path of the YAML file.
        kinds: step kinds by name; their fields are the keys under `with:`.
        sources: secret sources by name; their fields are the keys beside `from:`.
        begins: whether a run is to begin with it; what only keeps one from beginning is not asked otherwise.

    Raises:
        RunbookError: with every problem found, in file order.
    """
    return _checked(read_lines(file), kinds, sources, begins=begins)


def runbook_from(definition: Mapping[str, Any], kinds: Models, sources: Models) -> LoadedRunbook:
    """The runbook that a journal recorded, checked like a file."""
    text = json.dumps(
        {k: v for k, v in definition.items() if k not in {"file", "derived", "aside"}}, ensure_ascii=False
    )
    document = parse_lines(text, Path(str(definition.get("file", "runbook.yaml"))))
    loaded = _checked(document, kinds, sources, begins=False)
    return replace(loaded, derived=bool(definition.get("derived")), aside=bool(definition.get("aside")))


def digest_of(data: object) -> str:
    """SHA-256 (hex) of the canonical JSON of `data`."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _checked(document: Document, kinds: Models, sources: Models, *, begins: bool) -> LoadedRunbook:
    if not isinstance(document.data, dict):
        hint = "Begin with 'version: 1', 'name:', 'environments:' and 'steps:'; README.md shows the shortest runbook."
        raise RunbookError([document.problem("a runbook is a mapping of keys to values", (), hint)])
    try:
        spec = Runbook.model_validate(document.data)
    except ValidationError as error:
        problems = [_explain(document, e, Runbook, ()) for e in error.errors()]
        raise RunbookError(_in_order(problems)) from None
    problems = [
        *_step_problems(document, spec, kinds),
        *_source_problems(document, spec, sources),
        *_name_problems(document, spec, kinds),
        *_reference_problems(document, spec),
        *(backup_problems(document, spec, kinds) if begins else ()),
    ]
    if problems:
        raise RunbookError(_in_order(problems))
    return LoadedRunbook(document.file, spec, digest_of(document.data), document.data, document)


def _in_order(problems: list[Problem]) -> list[Problem]:
    unique = {(p.line, p.column, p.message): p for p in problems}
    return [unique[key] for key in sorted(unique)]


def _explain(document: Document, error: Any, model: type[BaseModel], base: Path_) -> Problem:  # noqa: ANN401
    """One of pydantic's errors as a problem in the file."""
    path = base + tuple(p for p in error["loc"] if _is_in(document, (*base, *_until(error["loc"], p))))
    kind, key = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        candidates = _keys_at(model, error["loc"][:-1])
        near = get_close_matches(key, candidates, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(sorted(candidates))}."
        return document.problem(f"unknown key {key!r}", path, hint)
    if kind == "missing":
        return document.problem(f"the key {key!r} is missing", path, f"Add {key}: here.")
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if kind == "too_short":
        message = "should not be empty"
    # the file's own word for it: pydantic names members of unions, and counts in lists
    word = next((part for part in reversed(path[len(base) :]) if isinstance(part, str)), key)
    return document.problem(f"{word}: {message[:1].lower()}{message[1:]}", path, _example_of(kind))


def _example_of(kind: str) -> str:
    """What to write where a value has the wrong type; `kind` is pydantic's name of the error."""
    examples = {
        "int": "Write a whole number, for example 3.",
        "float": "Write a number, for example 2.5.",
        "bool": "Write true or false.",
        "string": "Write text; in quotes where it looks like a number.",
        "list": "Write a list, for example [one, two].",
        "tuple": "Write a list, for example [one, two].",
        "dict": "Write keys and values, for example { key: value }.",
        "model": "Write keys and values, for example { key: value }.",
        "literal": "Write one of these words.",
        "greater": "Write a number within these bounds.",
        "less": "Write a number within these bounds.",
        "too": "Name at least one, or leave the key out.",
    }
    return examples.get(kind.partition("_")[0], "docs/steps.md and docs/secrets.md say what it takes.")


def _until(loc: tuple[str | int, ...], part: str | int) -> tuple[str | int, ...]:
    return loc[: loc.index(part) + 1]


def _is_in(document: Document, path: Path_) -> bool:
    # pydantic adds the names of union members to its paths; the file does not know them
    return path in document.places


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    current: Any = model
    for part in loc:
        for candidate in _models_in(current):
            field = next((f for n, f in candidate.model_fields.items() if part in {n, f.alias}), None)
            if field is not None:
                current = field.annotation
                break
    return sorted({f.alias or n for m in _models_in(current) for n, f in m.model_fields.items()})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {Union, types.UnionType, list, dict} or get_args(annotation):
        for argument in get_args(annotation):
            yield from _models_in(argument)


def all_steps(spec: Runbook) -> Iterator[tuple[Path_, StepSpec]]:
    """Checks and steps with their paths, in file order."""
    for part in ("preflight", "steps"):
        for index, step in enumerate(getattr(spec, part)):
            yield (part, index), step


def with_of(step: StepSpec | Compensation) -> tuple[str, dict[str, Any]]:
    """Kind and `with:` of a step; `run:` is short for the kind `run`.

    Raises:
        ValueError: neither or both of `uses` and `run`, or a command that cannot be split.
    """
    if (step.uses is None) == (step.run is None):
        raise ValueError("a step has either uses: or run:")
    if step.uses is not None:
        return step.uses, step.with_
    shell = getattr(step, "shell", False)
    values: dict[str, Any] = {"command": words_of(step.run, shell=shell), "shell": shell}
    if isinstance(step, StepSpec):
        values |= {"done_if": words_of(step.check, shell=shell), "harmless_twice": bool(step.idempotent)}
        values |= {"gives": step.outputs}
    return "run", values


def _step_problems(document: Document, spec: Runbook, kinds: Models) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for path, step in all_steps(spec):
        line = document.place(path).line
        if not step.id and path[0] == "steps":
            yield document.problem(
                "the step has no id", path, "Add id: and a short name; rollback and resume refer to it."
            )
        elif step.id in seen:
            message = f"the step id {step.id!r} stands here twice (first in line {seen[step.id]})"
            yield document.problem(message, (*path, "id"), "Give each step its own id.")
        seen.setdefault(step.id, line)
        yield from _kind_problems(document, path, step, kinds)
        yield from matrix_problems(document, path, step)
        yield from _database_problems(document, path, step, spec)
        if step.rollback is not None:
            yield from _kind_problems(document, (*path, "rollback"), step.rollback, kinds)
        if path[0] == "preflight" and not getattr(kinds.get(step.uses or ""), "check", True):
            yield document.problem(f"{step.uses} changes something", path, "Only checks stand under preflight:.")


_ASKS_APPLICATION = ("django.", "encryption.", "rehearse")
"""How the names of kinds begin that work through the application; each finds out for itself where that stands, too."""


def _database_problems(document: Document, path: Path_, step: StepSpec, spec: Runbook) -> Iterator[Problem]:
    """A database of its own that only deployguard would know of: application or command would change another."""
    if step.database is None or step.env or (spec.django and spec.django.database_in):
        return
    message = f"step {step.id} has a database of its own, and"
    if step.run is not None:
        hint = "Give it the URL in the step's env:."
        yield document.problem(f"{message} its command is not told which", (*path, "database"), hint)
    elif (step.uses or "").startswith(_ASKS_APPLICATION):
        hint = "Name the variable that it takes its database's URL from: database_in: under django:."
        yield document.problem(f"{message} the application is not told which", (*path, "database"), hint)


def _kind_problems(document: Document, path: Path_, step: StepSpec | Compensation, kinds: Models) -> Iterator[Problem]:
    try:
        uses, values = with_of(step)
    except ValueError as error:
        yield document.problem(str(error), path)
        return
    if uses not in kinds:
        near = get_close_matches(uses, kinds, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else f"Known kinds: {', '.join(sorted(kinds))}."
        yield document.problem(f"unknown step kind {uses!r}", (*path, "uses"), hint)
        return
    try:
        kinds[uses].model_validate(values)
    except ValidationError as error:
        base = (*path, "with") if step.uses else path
        for part in error.errors():
            # what an expression will be is known only once an environment is chosen
            if part["type"] == "extra_forbidden" or not _stands_for_expression(values, part["loc"]):
                yield _explain(document, part, kinds[uses], base)


def _stands_for_expression(values: Any, loc: tuple[str | int, ...]) -> bool:  # noqa: ANN401
    for part in loc:
        if has_expression(values):
            return True
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            continue
    return has_expression(values)


def _source_problems(document: Document, spec: Runbook, sources: Models) -> Iterator[Problem]:
    listed: list[tuple[Path_, SecretFrom]] = [(("secrets", n), s) for n, s in spec.secrets.items()]
    for environment, entry in spec.environments.items():
        listed += [(("environments", environment, "secrets", n), s) for n, s in entry.secrets.items()]
        for name in entry.secrets.keys() - spec.secrets.keys():
            place = ("environments", environment, "secrets", name)
            yield document.problem(
                f"the secret {name} is not in the runbook's own secrets:", place, f"Add {name} under secrets:."
            )
    for path, secret in listed:
        if secret.source not in sources:
            near = get_close_matches(secret.source, sources, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known sources: {', '.join(sorted(sources))}."
            yield document.problem(f"unknown secret source {secret.source!r}", (*path, "from"), hint)
            continue
        try:
            sources[secret.source].model_validate(secret.model_extra or {})
        except ValidationError as error:
            for part in error.errors():
                if part["type"] == "extra_forbidden" or not _stands_for_expression(
                    secret.model_extra or {}, part["loc"]
                ):
                    yield _explain(document, part, sources[secret.source], path)


def _strings(data: Any, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:  # noqa: ANN401
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _strings(value, (*path, index))
    elif isinstance(data, str):
        yield path, data


def _may_hold_secret(path: Path_) -> bool:
    if path[:2] == ("django", "env") or path[0] == "notify":
        return True
    if path[0] == "environments":
        return path[2:3] in {("database",), ("replicas",)}
    if path[:2] == ("encryption", "rotation"):
        return path[3:4] == ("env",)
    return path[2:3] in {("env",), ("files",), ("database",)} or path[2:4] == ("rollback", "env")


def _name_problems(document: Document, spec: Runbook, kinds: Models) -> Iterator[Problem]:
    known_vars = set(spec.vars).union(*(e.vars for e in spec.environments.values()))
    outputs = {s.id: (i, _outputs_of(s, kinds)) for i, s in enumerate(spec.steps)}
    for path, text in _strings(document.data):
        if "{{" not in text and "{%" not in text and path[-1] != "if":
            continue
        wrapped = text if path[-1] != "if" or has_expression(text) else "${{ " + text + " }}"
        try:
            names = names_in(wrapped)
        except ExpressionError as error:
            yield document.problem(str(error), path, error.hint)
            continue
        if "{{" in text and "${{" not in text:
            yield document.problem("an expression begins with ${{", path, "Write ${{ … }}.")
        for name in sorted(names):
            yield from _one_name(document, path, name, spec, known_vars, outputs)
            yield from _item_problems(document, path, name, spec)


def _outputs_of(step: StepSpec, kinds: Models) -> set[str]:
    declared = getattr(kinds.get(step.uses or ""), "outputs", ())
    return set(step.outputs) | set(declared if isinstance(declared, (tuple, frozenset)) else ())


def _one_name(
    document: Document,
    path: Path_,
    name: tuple[str, ...],
    spec: Runbook,
    known_vars: set[str],
    outputs: dict[str, tuple[int, set[str]]],
) -> Iterator[Problem]:
    shown, root = ".".join(name), name[0]
    if root not in ROOTS:
        near = get_close_matches(root, ROOTS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Expressions begin with one of: {', '.join(ROOTS)}."
        yield document.problem(f"undefined name {shown!r}", path, hint)
    elif root == "vars" and len(name) > 1 and name[1] not in {*known_vars, COMPUTED}:
        near = get_close_matches(name[1], known_vars, n=1)
        hint = f"Did you mean vars.{near[0]}?" if near else f"Add {name[1]} under vars:."
        yield document.problem(f"undefined name {shown!r}", path, hint)
    elif root == "secrets" and not _may_hold_secret(path):
        hint = "Put it under the step's env: or files: and let the command read it there."
        yield document.problem("a secret may not stand here", path, hint)
    elif root == "secrets" and len(name) > 1 and name[1] not in {*spec.secrets, COMPUTED}:
        yield document.problem(f"undefined name {shown!r}", path, f"Add {name[1]} under secrets:.")
    elif root == "steps":
        yield from _step_name(document, path, name, outputs)


def _item_problems(document: Document, path: Path_, name: tuple[str, ...], spec: Runbook) -> Iterator[Problem]:
    """Names that mean something only in the step of an item, or only once a run has begun."""
    shown, key = ".".join(name), path[2:3]
    step = _step_at(spec, path)
    mine = step.matrix if step is not None and isinstance(step.matrix, dict) else {}
    if name[0] in {"steps", "run"} and key in {("matrix",), ("database",)}:
        yield document.problem(
            f"{shown!r} is not known yet here", path, f"{key[0]}: must be known before a run begins."
        )
    elif name[0] == "matrix" and (not mine or key == ("matrix",)):
        hint = "Write matrix: { NAME: [one, two] } beside it; then ${{ matrix.NAME }} is its item."
        yield document.problem(f"undefined name {shown!r}: there is no matrix here", path, hint)
    elif name[0] == "matrix" and name[1:2] != tuple(mine):
        yield document.problem(f"undefined name {shown!r}", path, f"Did you mean matrix.{next(iter(mine))}?")
    elif name[0] == "steps" and (theirs := _matrix_of(spec, name[1:2])) is not None and theirs != mine:
        hint = "A step with the same matrix: sees the output of its own item."
        yield document.problem(f"{shown!r}: {name[1]} has one output for each item of its matrix", path, hint)


def _matrix_of(spec: Runbook, step: tuple[str, ...]) -> object:
    return next((s.matrix for s in spec.steps if (s.id,) == step), None)


def _step_at(spec: Runbook, path: Path_) -> StepSpec | None:
    parts = {"preflight": spec.preflight, "steps": spec.steps}
    return parts[str(path[0])][int(path[1])] if path[0] in parts and len(path) > 1 else None


def _step_name(
    document: Document, path: Path_, name: tuple[str, ...], outputs: dict[str, tuple[int, set[str]]]
) -> Iterator[Problem]:
    shown = ".".join(name)
    if len(name) != 4 or name[2] != "outputs":  # noqa: PLR2004 - steps.ID.outputs.NAME
        yield document.problem(f"undefined name {shown!r}", path, "Write steps.ID.outputs.NAME.")
        return
    index, known = outputs.get(name[1], (-1, set()))
    if index < 0:
        near = get_close_matches(name[1], outputs, n=1)
        hint = f"Did you mean steps.{near[0]}?" if near else "Name a step of this runbook."
        yield document.problem(f"undefined name {shown!r}: there is no step {name[1]}", path, hint)
    elif path[0] == "steps" and isinstance(path[1], int) and path[1] < index + ("rollback" not in path):
        yield document.problem(
            f"{shown!r} is not known yet here", path, "A step sees the outputs of earlier steps only."
        )
    elif name[3] not in known:
        hint = (
            f"It has: {', '.join(sorted(known))}."
            if known
            else "It has no outputs; a run: step declares them with outputs:."
        )
        yield document.problem(f"undefined name {shown!r}: no such output", path, hint)


def _reference_problems(document: Document, spec: Runbook) -> Iterator[Problem]:
    earlier: set[str] = set()
    for index, step in enumerate(spec.steps):
        for position, needed in enumerate(step.needs):
            if needed not in earlier:
                hint = "Steps run in the order they stand in; needs: may only name one above."
                yield document.problem(
                    f"needs names {needed!r}, which is no step above", ("steps", index, "needs", position), hint
                )
        earlier.add(step.id)
    for name, environment in spec.environments.items():
        wanted = environment.requires.promoted_from
        if wanted is not None and wanted not in spec.environments:
            path = ("environments", name, "requires", "promoted_from")
            yield document.problem(
                f"there is no environment {wanted!r}", path, f"Known: {', '.join(spec.environments)}."
            )
    for position, name in enumerate(spec.encryption.keys):
        if "encryption" in document.data and name not in spec.secrets:
            yield document.problem(
                f"there is no secret {name!r}", ("encryption", "keys", position), "Add it under secrets:."
            )
