"""The items of a matrix: each a step of its own, one after another or some at the same time.

An item that fails keeps those that have not begun from beginning, and those under way stop at
their next safe point. One that waits or needs a person keeps nobody: it is told when all
others have ended. Threads are enough, since what takes time is done by child processes and
database servers; every item has connections and processes of its own, and the journal is
written by one at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from shlex import quote
from typing import TYPE_CHECKING

from deployguard.engine.plan import PlannedStep
from deployguard.errors import Interrupted, LeaseLost, NeedsPerson, NotRecorded, StepFailed, Waiting

if TYPE_CHECKING:
    from deployguard.engine.execute import Run

Execute = Callable[["Run", PlannedStep], None]
_KEEPS_NOBODY = (NeedsPerson, Waiting)
_FIRST_TOLD = (LeaseLost, NotRecorded, StepFailed, Interrupted, NeedsPerson, Waiting)
"""What is raised where items ended in several ways."""


def execute_items(run: "Run", items: Sequence[PlannedStep], execute: Execute) -> None:
    """Carry out each, at most `max_parallel` at the same time, and raise what kept them from being done.

    Raises:
        StepFailed: an item gave up; its event is on record.
        Interrupted, Waiting, NeedsPerson, LeaseLost: the run stops here; see their classes.
    """
    at_once = items[0].spec.max_parallel if items else 1
    try:
        errors = [*(_in_turn(run, items, execute) if at_once == 1 else _together(run, items, execute, at_once))]
    finally:
        run.halted = ""
    if errors:
        raise _foremost(run, items, errors)


def undecided(environment: str, steps: Sequence[str]) -> NeedsPerson:
    """The question that only a person can answer, with the command that answers it."""
    one = len(steps) == 1
    answers = " ".join(f"--decide {quote(f'{step}=done')}" for step in steps)
    return NeedsPerson(
        f"{'step' if one else 'steps'} {', '.join(steps)} {'was' if one else 'were'} begun and "
        f"{'its end is' if one else 'their ends are'} not on record; "
        f"deployguard cannot tell whether {'it is' if one else 'they are'} done",
        hint=f'Look, then run "deployguard deploy --resume --env {environment} {answers}" (or =retry, =skip).',
        steps=steps,
    )


def _in_turn(run: "Run", items: Sequence[PlannedStep], execute: Execute) -> Iterator[BaseException]:
    for item in items:
        try:
            execute(run, item)
        except _KEEPS_NOBODY as error:
            yield error


def _together(run: "Run", items: Sequence[PlannedStep], execute: Execute, at_once: int) -> Iterator[BaseException]:
    def one(item: PlannedStep) -> None:
        try:
            execute(run, item)
        except _KEEPS_NOBODY:
            raise
        except BaseException:
            run.halted = run.halted or item.id
            raise

    with ThreadPoolExecutor(at_once, thread_name_prefix="item") as pool:
        for ended in as_completed([pool.submit(one, item) for item in items]):
            if (error := ended.exception()) is not None:
                yield error


def _foremost(run: "Run", items: Sequence[PlannedStep], errors: Sequence[BaseException]) -> BaseException:
    bugs = [error for error in errors if not isinstance(error, _FIRST_TOLD)]
    first = bugs[0] if bugs else min(errors, key=lambda e: [isinstance(e, kind) for kind in _FIRST_TOLD].index(True))
    if isinstance(first, NeedsPerson):
        asked = {step for error in errors if isinstance(error, NeedsPerson) for step in error.steps}
        return undecided(run.target.environment, [item.id for item in items if item.id in asked])
    return first
