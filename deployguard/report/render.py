"""Report → Markdown and HTML, and both onto the disk.

What stands between `{{` and `}}` is data and is made harmless when it is printed, by
the environment itself: a template cannot forget it. Only what these filters return is
taken as it is. No text is ever rendered twice.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from deployguard.report.model import Attempt, Report
from deployguard.report.prose import Code, Prose, Wording, clock, moment, size
from deployguard.runbook.quantities import spell
from deployguard.visible import markdown_cell, markdown_code_block, markdown_text, visible

MANY_STEPS = 200
"""Above this, only steps with something to tell are told in full."""
_HERE = Path(__file__).resolve().parent
_TEMPLATES = (_HERE.parent / "templates", _HERE.parent.parent / "templates")  # in a wheel, in a checkout


class _Safe(str):
    """Markdown that a filter made; everything else is escaped."""

    __slots__ = ()


def render_markdown(report: Report) -> str:
    """The report as Markdown that reads well raw, and as GitHub shows it."""
    text = _markdown().get_template("report.md.j2").render(report=report, many=len(report.steps) > MANY_STEPS)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def render_html(report: Report) -> str:
    """The report as one HTML file that needs nothing else, no script and no network."""
    return _html().get_template("report.html.j2").render(report=report, many=len(report.steps) > MANY_STEPS)


_RENDER: dict[str, Callable[[Report], str]] = {"md": render_markdown, "html": render_html}


def write_reports(report: Report, folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write a report in each format, readable by its owner alone; an earlier one of the same run is replaced whole.

    A new folder ignores itself in git, so that a report never makes a working copy dirty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        _replace(ignore, "*\n")
    return [_replace(folder / f"{_file_name(report)}.{name}", _RENDER[name](report)) for name in dict.fromkeys(formats)]


def _file_name(report: Report) -> str:
    # run ids begin with their environment already; one that does not, or a strange one, still names one file here
    name = report.run if report.run.startswith(f"{report.environment}-") else f"{report.environment}-{report.run}"
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:150]


def _replace(path: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from its first byte
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


@cache
def _markdown() -> ImmutableSandboxedEnvironment:
    made = _environment(autoescape=False, finalize=lambda value: value if isinstance(value, _Safe) else _line(value))
    made.filters |= {
        "cell": lambda value: _Safe(markdown_cell(_text(value))),
        "block": lambda value: _Safe(markdown_code_block(_text(value))),
        "code": lambda value: _Safe(_span(_text(value))),
        "code_cell": lambda value: _Safe(_cell_span(_text(value))),
        "prose": lambda prose: _Safe(_prose(prose, _worded(_line), _span)),
        "prose_cell": lambda prose: _Safe(_prose(prose, _worded(markdown_cell), _cell_span)),
        "mermaid": lambda value: _Safe(re.sub(r"[^A-Za-z0-9_. -]", "_", _text(value))[:40]),
        "begin": lambda bar: _Safe(moment(bar.begin).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]),
        "milliseconds": lambda bar: _Safe(max(1, round(bar.seconds * 1000))),
    }
    return made


@cache
def _html() -> ImmutableSandboxedEnvironment:
    made = _environment(
        autoescape=True, finalize=lambda value: value if isinstance(value, Markup) else visible(_text(value))
    )
    made.filters |= {
        "prose": lambda prose: Markup(_prose(prose, _escaped, lambda text: f"<code>{_escaped(text)}</code>")),  # noqa: S704 - every part is escaped
    }
    return made


def _environment(*, autoescape: bool, finalize: Callable[[Any], Any]) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([str(folder) for folder in _TEMPLATES]), undefined=StrictUndefined,
        autoescape=autoescape, finalize=finalize, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "spell": lambda seconds: _Safe(spell(seconds)),
        "mark": _MARKS.get,
        "tone": lambda state: _TONES.get(_MARKS.get(state, ""), "calm"),
        "at": lambda at: _Safe(clock(at)),
        "word": lambda state: _WORDS.get(state, state),
        "title": _title,
        "pair": lambda pair: _Safe(_pair(pair, "{:,}".format)),
        "sizes": lambda pair: _Safe(_pair(pair, size)),
    }
    return made


_MARKS = {
    "pass": "✓", "succeeded": "✓", "undone": "✓", "compensated": "✓", "proven": "✓",
    "warn": "!", "not proven": "!", "interrupted": "!", "waiting": "…", "running": "…",
    "compensating": "…", "open": "…",
    "fail": "✗", "failed": "✗", "stuck": "✗", "not undone": "✗", "contradicted": "✗",
    "skip": "-", "skipped": "-", "pending": "·", "kept": "·",
}  # fmt: skip
"""A mark beside the word, never instead of it."""


_TONES = {"✓": "good", "!": "wait", "…": "wait", "✗": "bad"}
_WORDS = {
    "warn": "warning", "pending": "not begun", "compensating": "being undone",
    "compensated": "undone", "stuck": "not undone",
}  # fmt: skip


def _title(attempt: Attempt) -> str:
    if attempt.kind == "undo":
        return "Undo" if attempt.number == 1 else f"Undo, attempt {attempt.number}"
    return f"Attempt {attempt.number}" if attempt.number else "Without a start on record"


def _pair(pair: tuple[int | None, int | None], spelled: Callable[[int], str]) -> str:
    """`before → after`, or one of them where they are the same."""
    before, after = ("?" if n is None else spelled(n) for n in pair)
    return before if before == after else f"{before} → {after}"


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _prose(prose: Prose, wording: Callable[[str], str], code: Callable[[str], str]) -> str:
    return "".join(code(part.text) if isinstance(part, Code) else wording(part) for part in prose)


def _line(value: object) -> str:
    return markdown_text(_one_line(_text(value)))


def _one_line(text: str) -> str:
    # two blanks at the end of a line would be a line break, a blank line the end of a paragraph
    return re.sub(r"[ \t\n]+", " ", text).strip(" ")


def _worded(escaped: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: text if isinstance(text, Wording) else escaped(text)


def _cell_span(text: str) -> str:
    return _span(text).replace("|", "\\|")


def _escaped(text: str) -> str:
    return str(escape(visible(text)))


def _span(text: str) -> str:
    """A code span, with more backticks than any run in the text."""
    line = visible(_one_line(text)) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line[0] in "` " or line[-1] in "` " else ""
    return f"{fence}{pad}{line}{pad}{fence}"
