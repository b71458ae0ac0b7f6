"""Runbook + environment → Plan. Pure: what is not given is not known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from deployguard.errors import Problem, RunbookError, UsageError
from deployguard.runbook.expressions import ExpressionError, Variables, has_expression, names_in, render
from deployguard.runbook.lines import Path_
from deployguard.runbook.load import LoadedRunbook, digest_of, with_of
from deployguard.runbook.matrix import Item, ItemsError, item_id, items_in
from deployguard.runbook.spec import Compensation, Environment, StepSpec
from deployguard.steps.base import Step

Kinds = Mapping[str, type[Step]]
_LATE = frozenset({"steps", "run"})
"""Names that have a value only while a run is under way."""


@dataclass(frozen=True)
class Selection:
    """Which steps a person asked for, and why; all when nothing is said."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    first: str | None = None
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.only or self.skip or self.first)

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        chosen = {"only": list(self.only), "skip": list(self.skip), "from": self.first}
        return {**chosen, **({"why": self.why} if self.why else {})} if self else {}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> "Selection":
        """As the journal has it."""
        only, skip = tuple(recorded.get("only", ())), tuple(recorded.get("skip", ()))
        return cls(only, skip, recorded.get("from"), recorded.get("why", ""))


@dataclass(frozen=True)
class PlannedStep:
    """A step with everything filled in that can be known beforehand.

    Attributes:
        id: the runbook's id of it, for an item of a matrix with the item: `encrypt[acme]`.
        values: its `with:`, rendered but for expressions on earlier steps' outputs.
        selected: False when the person left it out.
        path: where it stands in the runbook.
        matrix: the item, under the matrix's name; empty where there is no matrix.
    """

    id: str
    kind: type[Step]
    values: dict[str, Any]
    spec: StepSpec
    path: Path_
    line: int
    selected: bool = True
    rollback: "PlannedStep | None" = None
    when: str = "failure"
    matrix: Mapping[str, Item] = field(default_factory=dict)

    @property
    def uses(self) -> str:
        """Name of the kind."""
        return self.kind.uses

    def goes_by(self, name: str) -> bool:
        """Whether a person means it by this name: its own, or that of the step whose matrix it is an item of."""
        return name in {self.id, self.spec.id}

    def is_late(self) -> bool:
        """Whether it depends on what earlier steps will have put out."""
        return _is_late(self.values)

    @property
    def condition(self) -> str | None:
        """Its `if:` as an expression; None where it has none."""
        text = self.spec.condition
        return text if text is None or "${{" in text else "${{ " + text + " }}"

    def holds(self, names: Mapping[str, Any]) -> bool | None:
        """Whether its `if:` holds, by what is known before a run; None where only an earlier step's output will tell.

        Raises:
            ExpressionError: its `if:` has no value.
        """
        if self.condition is None:
            return True
        return None if _is_late(self.condition) else bool(render(self.condition, {**names, "matrix": self.matrix}))

    def pages(self, names: Mapping[str, Any]) -> list[str]:
        """Addresses of the pages that it asks, as far as it is known that it will.

        Raises:
            ExpressionError: its `if:` has no value.
        """
        if self.holds(names) is False:
            return []
        return [page for page in _named(self.values, self.kind.pages) if page and not _is_late(page)]

    def bind(self, names: Mapping[str, Any]) -> Step:
        """The step itself, ready to be executed.

        Raises:
            UsageError: an output that it needs has no value, or one that does not fit.
        """
        try:
            return self.kind.model_validate(render(self.values, names))
        except ExpressionError as error:
            raise UsageError(
                f"step {self.id}: {error}", hint="The step that gives this output has not been run."
            ) from None
        except ValidationError as error:
            raise UsageError(
                f"step {self.id}: {_first(error)}", hint="Look at the outputs of the earlier steps."
            ) from None

    def step(self) -> Step:
        """The step, for questions that need no late value."""
        return self.kind.model_validate(self.values) if not self.is_late() else self.kind.model_construct(**self.values)


@dataclass(frozen=True)
class Plan:
    """What a run in one environment will do, in order.

    Attributes:
        digest: SHA-256 over all of it; approvals and resumption bind to it.
        names: values of expressions that are known now: env, vars, environment, commit.
    """

    runbook: LoadedRunbook
    environment: str
    checks: tuple[PlannedStep, ...]
    steps: tuple[PlannedStep, ...]
    digest: str
    names: Mapping[str, Any]
    commit: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    selection: Selection = Selection()

    @property
    def target(self) -> Environment:
        """The environment's entry in the runbook."""
        return self.runbook.spec.environments[self.environment]

    @property
    def database_in(self) -> str | None:
        """The variable that the application takes its database's URL from, where the runbook says."""
        return self.runbook.spec.django.database_in if self.runbook.spec.django else None


def make_plan(
    runbook: LoadedRunbook,
    environment: str,
    kinds: Kinds,
    *,
    env: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
    commit: str | None = None,
    selection: Selection | None = None,
) -> Plan:
    """Fill a runbook in for one environment.

    Args:
        runbook: as it was loaded.
        environment: name of one of its environments.
        kinds: the step kinds it may use.
        env: the environment variables that `${{ env.NAME }}` sees.
        settings: `--set` values; they take the place of vars of the same name.
        commit: the full hash that is to be deployed.
        selection: steps that a person asked for; all by default.

    Raises:
        UsageError: unknown environment, setting or step; or a gate is to be skipped that the environment requires.
        RunbookError: an expression has no value, or a value does not fit.
    """
    settings, selection = dict(settings or {}), selection or Selection()
    target = _known_environment(runbook, environment)
    names = known_names(runbook, environment, env=env, settings=settings, commit=commit)
    problems: list[Problem] = []
    checks = [*_each(runbook, "preflight", kinds, names, problems)]
    required = [*_required(runbook, environment, kinds, names, problems)]
    steps = [*_each(runbook, "steps", kinds, names, problems)]
    _render_or(problems, runbook, target.directory, ("environments", environment, "directory"), names)
    if problems:
        raise RunbookError(problems)
    for gate in required:
        if gate.id in selection.skip:
            raise UsageError(
                f"--skip {gate.id}: {environment} requires it",
                hint=f"Once it waits, --resume --decide {gate.id}=skip --why … passes over it, on record.",
            )
    planned = [*required, *_select(steps, selection)]
    digest = digest_of(
        {
            "runbook": runbook.digest, "environment": environment, "commit": commit, "settings": settings,
            "steps": [[s.id, s.uses, s.values, s.selected] for s in planned],
        }
    )  # fmt: skip
    return Plan(runbook, environment, tuple(checks), tuple(planned), digest, names, commit, settings, selection)


def _each(
    runbook: LoadedRunbook, part: str, kinds: Kinds, names: Mapping[str, Any], problems: list[Problem]
) -> Iterator[PlannedStep]:
    """The steps of a part of the runbook, one with a matrix once for each item."""
    for index, spec in enumerate(getattr(runbook.spec, part)):
        path = (part, index)
        for matrix in [{}] if spec.matrix is None else _items(runbook, path, spec, names, problems):
            before = len(problems)
            planned = _planned(runbook, path, spec, kinds, names, problems, matrix)
            if planned is not None:
                yield planned
            if len(problems) > before:
                break  # what is wrong with one item is said once


def _items(
    runbook: LoadedRunbook, path: Path_, spec: StepSpec, names: Mapping[str, Any], problems: list[Problem]
) -> list[dict[str, Item]]:
    [(name, given)] = (spec.matrix or {}).items()
    place = (*path, "matrix", name)
    value = _render_or(problems, runbook, given, place, names)
    if value is None:
        return []
    try:
        return [{name: item} for item in items_in(value)]
    except ItemsError as error:
        problems.append(runbook.document.problem(f"step {spec.id}: matrix.{name}: {error}", place, error.hint))
        return []


def _required(
    runbook: LoadedRunbook, environment: str, kinds: Kinds, names: Mapping[str, Any], problems: list[Problem]
) -> Iterator[PlannedStep]:
    """The gates that an environment puts before the runbook's own steps."""
    requires, base = runbook.spec.environments[environment].requires, ("environments", environment, "requires")
    if requires.approvals:
        asked = {"count": requires.approvals, "by": list(requires.approvers)}
        spec = StepSpec(id="required-approval", uses="gate.approval", **{"with": asked})
        yield from _known(_planned(runbook, (*base, "approvals"), spec, kinds, names, problems))
    if requires.window is not None:
        spec = StepSpec(id="required-window", uses="gate.window", **{"with": {"window": requires.window}})
        yield from _known(_planned(runbook, (*base, "window"), spec, kinds, names, problems))


def _known(planned: PlannedStep | None) -> Iterator[PlannedStep]:
    if planned is not None:
        yield planned


def known_names(
    runbook: LoadedRunbook, environment: str, *, env: Mapping[str, str], settings: Mapping[str, str], commit: str | None
) -> dict[str, Any]:
    """Values of the names that expressions may use before a run begins.

    Raises:
        UsageError: unknown environment, or a setting that is no var of the runbook.
    """
    target = _known_environment(runbook, environment)
    declared = {**runbook.spec.vars, **target.vars}
    for name in settings:
        if name not in declared:
            near = get_close_matches(name, declared, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known vars: {', '.join(sorted(declared)) or 'none'}."
            raise UsageError(f"--set {name}: the runbook has no such var", hint=hint)
    names: dict[str, Any] = {"env": Variables(env), "environment": {"name": environment}, "commit": commit}
    try:
        names["vars"] = render({**declared, **settings}, names)
    except ExpressionError as error:
        place = runbook.document.problem(str(error), ("environments", environment, "vars"), _missing_hint(str(error)))
        raise RunbookError([place]) from None
    return names


def _known_environment(runbook: LoadedRunbook, name: str) -> Environment:
    environments = runbook.spec.environments
    if name not in environments:
        near = get_close_matches(name, environments, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The runbook has: {', '.join(environments)}."
        raise UsageError(f"{runbook.file}: there is no environment {name!r}", hint=hint)
    return environments[name]


def _planned(
    runbook: LoadedRunbook,
    path: Path_,
    spec: StepSpec,
    kinds: Kinds,
    names: Mapping[str, Any],
    problems: list[Problem],
    matrix: Mapping[str, Item] | None = None,
) -> PlannedStep | None:
    uses, raw = with_of(spec)
    base = (*path, "with") if spec.uses else path
    values = _render_or(problems, runbook, raw, base, {**names, "matrix": matrix})
    if values is None:
        return None
    name = item_id(spec.id, *matrix.values()) if matrix else spec.id
    planned = PlannedStep(name, kinds[uses], values, spec, path, runbook.line(path), matrix=matrix or {})
    if not planned.is_late():
        try:
            kinds[uses].model_validate(values)
        except ValidationError as error:
            problems.append(runbook.document.problem(f"step {name}: {_first(error)}", base))
            return None
    if spec.retry.attempts > 1 and not _may_retry(planned):
        message = f"step {spec.id} is tried again after a failure but is not idempotent"
        hint = (
            "Add idempotent: true if running it twice is harmless, "
            "or check: with a command that tells whether it is done."
        )
        problems.append(runbook.document.problem(message, (*path, "retry"), hint))
    if spec.rollback is not None:
        undo = _undo(runbook, path, spec, spec.rollback, kinds, names, problems, matrix)
        planned = replace(planned, rollback=undo)
        planned = replace(planned, when=spec.rollback.when)
    return planned


def _may_retry(planned: PlannedStep) -> bool:
    return planned.is_late() or planned.step().repeatable() or planned.spec.check is not None


def _undo(
    runbook: LoadedRunbook,
    path: Path_,
    spec: StepSpec,
    compensation: Compensation,
    kinds: Kinds,
    names: Mapping[str, Any],
    problems: list[Problem],
    matrix: Mapping[str, Item] | None,
) -> PlannedStep | None:
    undo = StepSpec(
        id=spec.id, uses=compensation.uses, run=compensation.run, env={**spec.env, **compensation.env},
        cwd=spec.cwd, database=spec.database, timeout=compensation.timeout or spec.timeout, idempotent=True,
        **{"with": compensation.with_},
    )  # fmt: skip
    return _planned(runbook, (*path, "rollback"), undo, kinds, names, problems, matrix)


def _render_or(
    problems: list[Problem],
    runbook: LoadedRunbook,
    value: Any,  # noqa: ANN401 - any part of a YAML document
    path: Path_,
    names: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    """`value` rendered where its names are known now; a problem on record and None where one has no value."""
    if isinstance(value, dict):
        parts = {k: _render_or(problems, runbook, v, (*path, k), names) for k, v in value.items()}
        return None if any(parts[k] is None and value[k] is not None for k in value) else parts
    if isinstance(value, list):
        return [_render_or(problems, runbook, v, (*path, i), names) for i, v in enumerate(value)]
    if not has_expression(value) or _is_late(value):
        return value
    try:
        return render(value, names)
    except ExpressionError as error:
        problems.append(runbook.document.problem(str(error), path, _missing_hint(str(error))))
        return None


def _is_late(value: object) -> bool:
    if isinstance(value, dict):
        return any(_is_late(v) for v in value.values())
    if isinstance(value, list):
        return any(_is_late(v) for v in value)
    return has_expression(value) and any(name[0] in _LATE for name in names_in(str(value)))


def _missing_hint(message: str) -> str:
    return (
        "Set the environment variable, or give a default: ${{ env.NAME | default('…') }}."
        if any(sign in message for sign in ("undefined", "no attribute", "is not set"))
        else ""
    )


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(p) for p in first["loc"])
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _select(steps: Sequence[PlannedStep], selection: Selection) -> list[PlannedStep]:
    begin = positions(steps, selection.first)[0] if selection.first else 0
    only = {i for name in selection.only for i in positions(steps, name)}
    skip = {i for name in selection.skip for i in positions(steps, name)}
    return [
        replace(s, selected=i >= begin and i not in skip and (not selection.only or i in only))
        for i, s in enumerate(steps)
    ]


def _named(value: Any, keys: tuple[str, ...]) -> Iterator[str]:  # noqa: ANN401 - plain JSON
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key in keys and isinstance(each, str))
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _named(each, keys)


def positions(steps: Sequence[PlannedStep], name: str) -> list[int]:
    """Where the steps are that a person means by a name: all items of a matrix, or one.

    Raises:
        UsageError: there is none.
    """
    found = [i for i, step in enumerate(steps) if step.goes_by(name)]
    if not found:
        ids = [step.id for step in steps]
        near = get_close_matches(name, ids, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Steps: {', '.join(ids)}."
        raise UsageError(f"there is no step {name!r}", hint=hint)
    return found
