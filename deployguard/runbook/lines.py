"""YAML → plain data and where each part of it stands, refusing what YAML makes ambiguous.

Nothing is guessed: a word that one YAML reader takes for a boolean and another for
text is an error with its line, and so are duplicate keys, tags, aliases and merge
keys. The data that comes out holds only dict, list, str, int, float, bool and None.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployguard.errors import Problem, RunbookError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LARGEST = 4 * 1024 * 1024
"""Bytes; far above any real runbook, far below what would hurt."""
DEEPEST = 32

_WORDS = re.compile(r"(?i:yes|no|on|off|y|n)|True|TRUE|False|FALSE")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_ODD_NUMBER = re.compile(r"[-+]?(0[0-9_]+|0[xXoObB][0-9a-fA-F_]+|[0-9][0-9_]*_[0-9_]*|[0-9]+(:[0-9]{1,2})+)")

_PLAIN_TAGS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value"})

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A position in the file, counted from 1."""

    line: int
    column: int


@dataclass
class Document:
    """Plain data, and for each path in it (keys and indexes from the root) its place."""

    file: Path
    data: Any = None
    places: dict[Path_, Place] = field(default_factory=dict)

    def place(self, path: Path_) -> Place:
        """Where `path` stands, or the nearest thing around it that has a place."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))

    def problem(self, message: str, path: Path_, hint: str = "") -> Problem:
        """A problem at `path`."""
        place = self.place(path)
        return Problem(message, file=self.file, line=place.line, column=place.column, hint=hint)


def read_lines(file: Path) -> Document:
    """Read a YAML file strictly.

    Raises:
        RunbookError: it is absent, too large, not UTF-8, not YAML, or ambiguous; all
            ambiguities at once, each with its place.
    """
    return parse_lines(_text(file), file)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
    except FileNotFoundError:
        hint = "Name its path, or have one written: 'deployguard init'. README.md shows the shortest."
        raise RunbookError([Problem("there is no runbook here", file=file, line=1, hint=hint)]) from None
    except OSError as error:
        raise RunbookError([Problem(f"cannot be read: {error.strerror}", file=file, line=1)]) from error
    if len(raw) > LARGEST:
        raise RunbookError(
            [Problem(f"larger than {LARGEST} bytes", file=file, line=1, hint="A runbook is written by people.")]
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RunbookError([Problem("not UTF-8 text", file=file, line=line, hint="Save the file as UTF-8.")]) from None


def parse_lines(text: str, file: Path) -> Document:
    """Like `read_lines`, for text that is already in hand."""
    _refuse_bombs(text, file)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise RunbookError([_syntax_problem(error, file)]) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        hint = "Remove control characters and unusual nesting."
        raise RunbookError([Problem("not YAML that can be read", file=file, line=1, hint=hint)]) from None
    document = Document(file)
    problems: list[Problem] = []
    if root is not None:
        document.data = _build(root, (), document, problems, 0)
    if problems:
        raise RunbookError(sorted(problems, key=lambda p: (p.line, p.column)))
    return document


def _syntax_problem(error: yaml.MarkedYAMLError, file: Path) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = (error.problem or "syntax error").replace("\n", " ")
    hint = "Indent with spaces, the same number at each level, and quote text that holds ': ' or '#'."
    if "alias" in what:
        hint = "Write the values out: a runbook has no anchors and aliases."
    return Problem(f"not valid YAML: {what}", file=file, line=line, column=column, hint=hint)


def _refuse_bombs(text: str, file: Path) -> None:
    # nesting is bounded on the event stream: the tree builder itself would recurse without end
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                depth -= 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                problem = "anchors and aliases are not used in runbooks"
                hint = "Write the values out, or put them under vars: and use ${{ vars.NAME }}."
            elif depth > DEEPEST:
                problem, hint = f"nested deeper than {DEEPEST} levels", "Flatten it; no runbook key needs that."
            else:
                continue
            line, column = (event.start_mark.line, event.start_mark.column) if event.start_mark else (0, 0)
            raise RunbookError([Problem(problem, file=file, line=line + 1, column=column + 1, hint=hint)])
    except yaml.YAMLError:
        return  # compose() meets the same error and says it better


def _build(node: yaml.Node, path: Path_, document: Document, problems: list[Problem], depth: int) -> Any:  # noqa: ANN401
    mark = node.start_mark
    document.places.setdefault(path, Place(mark.line + 1, mark.column + 1))
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _PLAIN_TAGS:
        problems.append(document.problem(f"the tag {node.tag} is not used in runbooks", path, "Remove it."))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, problems, depth)
    if isinstance(node, yaml.SequenceNode):
        return [_build(n, (*path, i), document, problems, depth + 1) for i, n in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode), "YAML has three kinds of node"  # noqa: S101
    return _scalar(node, path, document, problems)


def _mapping(node: yaml.MappingNode, path: Path_, document: Document, problems: list[Problem], depth: int) -> Any:  # noqa: ANN401
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        mark = key_node.start_mark
        place = Place(mark.line + 1, mark.column + 1)
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str) or key == "<<":
            problems.append(Problem("keys are plain text", file=document.file, line=place.line, column=place.column))
            continue
        if key in result:
            first = document.places[(*path, key)]
            message = f"the key {key!r} stands here twice (first in line {first.line})"
            hint = "Keep one of them; most YAML readers would silently use the last."
            problems.append(Problem(message, file=document.file, line=place.line, column=place.column, hint=hint))
            continue
        document.places[(*path, key)] = place
        result[key] = _build(value_node, (*path, key), document, problems, depth + 1)
    return result


def _scalar(node: yaml.ScalarNode, path: Path_, document: Document, problems: list[Problem]) -> Any:  # noqa: ANN401
    text: str = node.value
    if node.style:
        return text
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if _WORDS.fullmatch(text):
        hint = f"Write true or false for a yes-or-no value, or '{text}' in quotes for text."
        problems.append(
            document.problem(f"{text} means true or false to some YAML readers and text to others", path, hint)
        )
        return None
    if _ODD_NUMBER.fullmatch(text):
        hint = f"Write '{text}' in quotes for text, or the number in plain decimal."
        problems.append(document.problem(f"{text} is read as different numbers by different YAML readers", path, hint))
        return None
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else text  # noqa: PLR2004 - beyond 64 bits it is an identifier, not a number
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
