"""The only printer: lines for people on stdout or stderr, or one JSON document."""

import json
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from deployguard.errors import DeployguardError, Problem, RunbookError
from deployguard.visible import visible

if TYPE_CHECKING:
    from pathlib import Path

    from deployguard.journal.base import Record
    from deployguard.journal.state import RunState
    from deployguard.steps.base import Progress

_COLOURS = {"pass": "32", "warn": "33", "fail": "31", "skip": "2"}
_COLOURS |= {"succeeded": "32", "already done": "2", "failed": "31", "interrupted": "33", "waiting": "33"}
_EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal to overwrite one."""


class Console:
    """Where output goes, and how: decided once per command."""

    current: "Console | None" = None

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.stream: TextIO = sys.stderr if as_json else sys.stdout
        self.is_terminal = self.stream.isatty()
        self._under_way: dict[str, str] = {}
        self._drawn = 0
        self._last: dict[str, float] = {}
        Console.current = self

    def line(self, text: str = "") -> None:
        """One line for people."""
        self.end_progress()
        print(text, file=self.stream, flush=True)

    def text(self, text: str) -> None:
        """Text as it stands, with the line breaks that it has."""
        self.end_progress()
        print(text, end="", file=self.stream, flush=True)

    def status(self, word: str, name: str, text: str = "", *, seconds: float | None = None) -> None:
        """A status word, what it is about, and a sentence."""
        self._under_way.pop(name, None)
        shown = f"{word:<12}"
        if self.is_terminal and word in _COLOURS:
            shown = f"\x1b[{_COLOURS[word]}m{shown}\x1b[0m"
        took = f" ({_spell(seconds)})" if seconds is not None and seconds >= 0.1 else ""  # noqa: PLR2004
        self.line(f"  {shown} {name:<22} {visible(text)}{took}".rstrip())

    def hint(self, text: str) -> None:
        """What to do next, under a line that says what is wrong."""
        if text:
            self.line(f"  {'':<12} {'':<22} → {visible(text)}")

    def document(self, data: Any) -> None:  # noqa: ANN401
        """The one JSON document, on stdout."""
        self.end_progress()
        print(json.dumps(data, ensure_ascii=False, indent=2, default=str), flush=True)

    def progress(self, name: str, progress: "Progress") -> None:
        """How far something is: a line for each that is under way, overwritten, or one now and then."""
        now = time.monotonic()
        if now - self._last.get(name, 0.0) < (0.1 if self.is_terminal else _EVERY):
            return
        self._last[name] = now
        self._under_way[name] = f"  {'…':<12} {name:<22} {describe(progress)}"
        if self.is_terminal:
            self._draw()
        else:
            print(self._under_way[name], file=self.stream, flush=True)

    def _draw(self) -> None:
        size = shutil.get_terminal_size()
        room = max(1, size.lines - 2)
        lines = list(self._under_way.values())
        if len(lines) > room:
            lines = [*lines[: room - 1], f"  … and {len(lines) - room + 1} more"]
        self.end_progress()
        print("\n".join(_cut(line, size.columns) for line in lines), end="", file=self.stream, flush=True)
        self._drawn = len(lines)

    def end_progress(self) -> None:
        """Take away what is to be overwritten."""
        if self._drawn:
            up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
            print(f"\r{up}\x1b[J", end="", file=self.stream)
            self._drawn = 0

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Ask; without a terminal nobody can answer, so the answer is no."""
        if yes:
            return True
        return (self.typed(f"{question} [y/N] ") or "").lower() in {"y", "yes"}

    def typed(self, question: str) -> str | None:
        """What a person types; None where there is no terminal to ask on."""
        if not (sys.stdin.isatty() and self.is_terminal):
            return None
        self.end_progress()
        print(question, end="", file=self.stream, flush=True)
        return sys.stdin.readline().strip()


def _cut(line: str, columns: int) -> str:
    """As much of a line as a terminal shows in one row; a character of the Far East takes two columns."""
    left = columns - 1
    for index, character in enumerate(line):
        left -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if left < 0:
            return line[:index]
    return line


def describe(progress: "Progress") -> str:
    """`encrypting web_profile  2,500 of 5,000 rows  50 %  41,000 rows/s  1 s left`."""
    parts = [progress.label]
    if progress.total:
        parts.append(
            f"{progress.done:,} of {progress.total:,} {progress.unit}  {100 * progress.done // progress.total} %"
        )
    elif progress.done:
        parts.append(f"{progress.done:,} {progress.unit}")
    if progress.rate:
        parts.append(f"{progress.rate:,.0f} {progress.unit}/s")
        if progress.total:
            parts.append(f"{_spell((progress.total - progress.done) / progress.rate)} left")
    return "  ".join([*parts, progress.note]).rstrip()


def _spell(seconds: float) -> str:
    from deployguard.runbook.quantities import spell

    return spell(seconds)


def table(rows: Iterable[Sequence[object]], head: Sequence[str]) -> list[str]:
    """Lines of a plain table: numbers to the right, text to the left."""
    cells = [[f"{c:,}" if isinstance(c, int) else visible(str(c)) for c in row] for row in rows]
    numeric = (
        [all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
        if isinstance(rows, list) and rows
        else []
    )
    widths = [max(len(head[i]), *(len(row[i]) for row in cells)) if cells else len(head[i]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            c.rjust(w) if numeric and numeric[i] else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    return [line(head), *(line(row) for row in cells)]


def show_error(error: DeployguardError) -> None:
    """What happened and what to do next, on stderr; as the JSON document where one was asked for."""
    console = Console.current
    if console is not None:
        console.end_progress()
        if console.as_json:
            console.document({"ok": False, "error": error_json(error)})
    if isinstance(error, RunbookError):
        for problem in error.problems:
            print(f"error: {visible(str(problem))}", file=sys.stderr)
        return
    print(f"error: {visible(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {visible(error.hint)}", file=sys.stderr)


def error_json(error: DeployguardError) -> dict[str, Any]:
    """An error as scripts see it."""
    known: dict[str, Any] = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    if isinstance(error, RunbookError):
        known["problems"] = [problem_json(p) for p in error.problems]
    return known


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem in a file as scripts see it."""
    return {
        "id": "runbook", "uses": "runbook", "status": "fail", "summary": problem.message, "hint": problem.hint,
        "file": str(problem.file), "line": problem.line, "column": problem.column,
    }  # fmt: skip


def run_json(state: "RunState", paths: "Sequence[Path]") -> dict[str, object]:
    """A run as scripts see it."""
    return {
        "run": state.id, "environment": state.environment, "state": state.state, "reason": state.reason,
        "started": state.at, "ended": state.ended, "commit": state.started.commit,
        "checks": [
            {"id": c.check, "uses": c.uses, "status": c.status, "summary": c.summary, "hint": c.hint}
            for c in state.checks
        ],
        "steps": [
            {
                "id": s.id, "uses": s.uses, "state": s.state, "attempts": s.attempts, "started": s.started,
                "ended": s.ended, "summary": s.summary,
            }
            for s in state.steps.values()
        ],
        "waiting_for": [{"step": w.step, "reason": w.reason, "until": w.until} for w in state.waiting_for],
        "reports": [str(p) for p in paths],
    }  # fmt: skip


class Watcher:
    """Shows a run while it goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def recorded(self, record: "Record") -> None:  # noqa: C901 - one arm per event
        """Show an event that people want to see."""
        from deployguard.journal import events as e

        event, console = record.event, self._console
        match event:
            case e.RunStarted():
                console.line(f"run {record.run}: {event.name} → {event.environment}")
                if event.target:
                    console.line("  target       {engine} {version}, {database} on {host}".format_map(event.target))
                if event.commit:
                    console.line(f"  commit       {event.commit}")
            case e.CheckFinished():
                console.status(event.status, event.check, event.summary, seconds=event.seconds)
                console.hint(event.hint)
            case e.StepFinished():
                console.status(
                    "done" if event.status == "pass" else "warn", event.step, event.summary, seconds=event.seconds
                )
            case e.StepFailed():
                console.status("failed", event.step, event.error, seconds=event.seconds)
                self._tail(event.tail)
                console.hint(event.hint if event.final else "another attempt follows")
            case e.StepSkipped():
                console.status("skipped", event.step, event.reason)
            case e.StepInterrupted():
                console.status("interrupted", event.step, event.reason)
            case e.StepWaiting():
                console.status("waiting", event.step, event.reason)
            case e.RollbackStarted():
                console.line(f"rolling back: {visible(event.reason)}")
            case e.CompensationFinished():
                console.status("undone", event.step, event.summary, seconds=event.seconds)
            case e.CompensationFailed():
                console.status("failed", event.step, event.error)
                self._tail(event.tail)
                console.hint(event.left)

    def _tail(self, tail: str) -> None:
        for line in tail.splitlines()[-12:]:
            self._console.line(f"  {'':<12} | {visible(line)}")

    def progressed(self, step: str, progress: "Progress") -> None:
        """Show how far it is."""
        self._console.progress(step, progress)

    def printed(self, step: str, line: str) -> None:
        """Show the newest line of a command where it can be overwritten; the log has them all."""
        from deployguard.steps.base import Progress

        if self._console.is_terminal:
            self._console.progress(step, Progress(visible(line)[:120], 0))
