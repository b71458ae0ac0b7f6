"""`deployguard logs`: what did the commands of a run write?"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile

if TYPE_CHECKING:
    from deployguard.journal.state import RunState

_PIECE = 64 * 1024


def command(
    run: Annotated[
        str | None, typer.Argument(help="The run's id or its beginning; by default the latest.", show_default=False)
    ] = None,
    step: Annotated[
        str | None,
        typer.Argument(help="The step, of a matrix one item or all; by default every step.", show_default=False),
    ] = None,
    runbook: RunbookFile = RUNBOOK,
    *,
    json: Json = False,
) -> None:
    """Print what the steps' commands wrote, masked; control characters are shown as escapes.

    Example: deployguard logs production-20260102 migrate
    """
    from deployguard.cli.console import Console
    from deployguard.cli.project import existing_journal, pick_run
    from deployguard.journal.state import fold

    console = Console(as_json=json)
    with existing_journal(runbook) as (home, journal):
        state = pick_run(fold(journal.records()), run)
    folder = home.path / "runs" / state.id
    found = {name: path for name in _named(state, step) if (path := folder / f"{name}.log").is_file()}
    if json:
        logs = [{"step": name, "path": str(path), "bytes": path.stat().st_size} for name, path in found.items()]
        console.document({"run": state.id, "logs": logs})
        return
    for name, path in found.items():
        if len(found) > 1:
            console.line(f"== {name}: {path}")
        for piece in _visible(path):
            console.text(piece)
    if not found:
        console.line(f"run {state.id}: no command of {step or 'any step'} has written anything that is still there")


def _named(state: "RunState", step: str | None) -> list[str]:
    """The steps that are meant, in their order.

    Raises:
        UsageError: there is none of this name.
    """
    from deployguard.errors import UsageError
    from deployguard.runbook.matrix import split_id

    found = [name for name in state.steps if step in {None, name, split_id(name)[0]}]
    if not found:
        raise UsageError(f"run {state.id} has no step {step!r}", hint=f"Steps: {', '.join(state.steps)}.")
    return found


def _visible(path: Path) -> Iterator[str]:
    """A log of any length in pieces that may be shown; a character is never cut in two."""
    import codecs

    from deployguard.visible import visible

    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    with path.open("rb") as stream:
        while data := stream.read(_PIECE):
            yield visible(decoder.decode(data))
    yield visible(decoder.decode(b"", final=True))
