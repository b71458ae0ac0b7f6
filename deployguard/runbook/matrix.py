"""`matrix:`: a step once for each item of a list, and what may stand there."""

import re
from collections.abc import Iterator

from deployguard.errors import Problem
from deployguard.runbook.expressions import has_expression
from deployguard.runbook.lines import Document, Path_
from deployguard.runbook.spec import StepSpec

Item = str | int
_ITEM = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LIST = "Write { NAME: [one, two] }, or an expression that gives a list: ${{ vars.NAME }}, ${{ env.NAME.split(',') }}."


class ItemsError(ValueError):
    """What was given is no list of items; the hint says what is."""

    def __init__(self, message: str, hint: str = _LIST) -> None:
        super().__init__(message)
        self.hint = hint


def items_in(value: object) -> list[Item]:
    """The items of a list whose expressions are rendered.

    Raises:
        ItemsError: it is no list, empty, or an item cannot be part of a step's id, or stands there twice.
    """
    if not isinstance(value, list):
        raise ItemsError("a matrix is a list of items")
    if not value:
        raise ItemsError("the matrix is empty", "A step for no item is no step: remove it, or name an item.")
    seen: set[str] = set()
    for item in value:
        text = str(item)
        if not isinstance(item, (str, int)) or isinstance(item, bool) or not _ITEM.fullmatch(text):
            hint = "An item is part of the step's id: letters, digits, and _ . - (at most 100)."
            raise ItemsError(f"{text[:100]!r} cannot be an item", hint)
        if text in seen:
            raise ItemsError(f"the item {text!r} stands here twice", "Each item is one step, so it stands once.")
        seen.add(text)
    return value


def item_id(step: str, item: Item) -> str:
    """Id of the step for one item. No plain id has a bracket, so none is like it."""
    return f"{step}[{item}]"


def split_id(step: str) -> tuple[str, str]:
    """A step's id as the runbook has it, and its item; "" where it is no item of a matrix."""
    name, _, rest = step.partition("[")
    return name, rest.removesuffix("]")


def matrix_problems(document: Document, path: Path_, step: StepSpec) -> Iterator[Problem]:
    """What can be said of a step's matrix without an environment."""
    if "max_parallel" in step.model_fields_set:
        if path[0] == "preflight":
            yield document.problem("checks run one after another", (*path, "max_parallel"), "Remove max_parallel:.")
        elif step.matrix is None:
            hint = "It says how many items of a matrix: are worked on at the same time."
            yield document.problem("max_parallel needs a matrix", (*path, "max_parallel"), hint)
    if step.matrix is None:
        return
    if not isinstance(step.matrix, dict) or len(step.matrix) != 1:
        yield document.problem("a matrix names one list", (*path, "matrix"), _LIST)
        return
    [(name, given)] = step.matrix.items()
    if not name.isidentifier():
        hint = "Letters, digits and _: expressions say matrix.NAME."
        yield document.problem(f"{name!r} is no name that an expression can use", (*path, "matrix", name), hint)
    if has_expression(given) or (isinstance(given, list) and any(map(has_expression, given))):
        return  # its items are known only once an environment is chosen
    try:
        items_in(given)
    except ItemsError as error:
        yield document.problem(f"matrix.{name}: {error}", (*path, "matrix", name), error.hint)
