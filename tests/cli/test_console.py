"""What is under way is shown on lines that are overwritten, one for each, and nothing of it stays."""

import io
import re

import pytest

from deployguard.cli.console import Console
from deployguard.steps.base import Progress


class Terminal(io.StringIO):
    """Shows what a person would see: just the movements that the console makes."""

    def __init__(self, columns=80):
        super().__init__()
        self.columns = columns

    def isatty(self):
        return True

    def rows(self):
        rows, at, column = [""], 0, 0
        for part in re.split(r"(\x1b\[\d*[A-Za-z]|\r|\n)", re.sub(r"\x1b\[\d*m", "", self.getvalue())):
            if part == "\r":
                column = 0
            elif part == "\n":
                at, column = at + 1, 0
                rows += [""] * (at + 1 - len(rows))
            elif part == "\x1b[J":
                rows[at] = rows[at][:column]
                del rows[at + 1 :]
            elif part.startswith("\x1b["):
                assert part.endswith("A"), part
                at -= int(part[2:-1])
            else:
                assert column + len(part) <= self.columns, "it would break into a second row"
                rows[at] = rows[at][:column] + part + rows[at][column + len(part) :]
                column += len(part)
        return [row.rstrip() for row in rows]


@pytest.fixture
def terminal(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setattr("deployguard.cli.console.time.monotonic", lambda: next(ticks))
    ticks = iter(range(1, 10**6))
    return shown


@pytest.fixture
def console(terminal):
    return Console(as_json=False)


def step(number):
    return f"step{number}"


def test_several_at_once_have_a_line_each_and_the_newest_word_of_each_stands(console, terminal):
    for done in (1, 2):
        for name in ("encrypt[acme]", "encrypt[globex]"):
            console.progress(name, Progress("rows", done, 10))

    assert [re.sub(r"\s+", " ", row) for row in terminal.rows()] == [
        " … encrypt[acme] rows 2 of 10 rows 20 %",
        " … encrypt[globex] rows 2 of 10 rows 20 %",
    ]


def test_what_has_ended_leaves_its_line_and_the_others_come_back_with_their_next_word(console, terminal):
    for number in range(3):
        console.progress(step(number), Progress("rows", 1))
    console.status("done", step(1), "all of it")
    console.progress(step(0), Progress("rows", 2))

    assert [row.split()[:2] for row in terminal.rows()] == [["done", "step1"], ["…", "step0"], ["…", "step2"]]


def test_nothing_of_it_stays_at_the_end(console, terminal):
    console.line("begin")
    for number in range(3):
        console.progress(step(number), Progress("rows", 1))
    console.line("end")

    assert terminal.rows() == ["begin", "end", ""]


def test_more_than_fit_are_counted(console, terminal):
    for number in range(9):
        console.progress(step(number), Progress("rows", 1))

    assert len(terminal.rows()) == 4
    assert terminal.rows()[-1] == "  … and 6 more"


def test_a_line_longer_than_the_terminal_is_cut(console, terminal):
    console.progress(step(1), Progress("x" * 300, 1))
    console.progress(step(2), Progress("行" * 300, 1))
    console.line("end")

    assert terminal.rows() == ["end", ""]


def test_without_a_terminal_each_has_its_own_line_now_and_then(monkeypatch):
    monkeypatch.setattr("sys.stdout", shown := io.StringIO())
    moments = iter([10.0, 10.1, 11.0, 16.0])
    monkeypatch.setattr("deployguard.cli.console.time.monotonic", lambda: next(moments))
    console = Console(as_json=False)

    for name in ("one", "two", "one", "one"):
        console.progress(name, Progress("rows", 1))

    assert [line.split()[1] for line in shown.getvalue().splitlines()] == ["one", "two", "one"]
