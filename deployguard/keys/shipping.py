"""Files that go into a container image although git ignores them.

Source: docs.docker.com/reference/dockerfile, "COPY"; docs.docker.com/build/concepts/context, ".dockerignore files".
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_BUILD_FILES = ("Dockerfile", "Containerfile")
_IGNORE_FILES = ("Dockerfile.dockerignore", ".containerignore", ".dockerignore")
_CONTINUED = re.compile(r"\\\n")
_COPY = re.compile(r"^\s*(?:COPY|ADD)\s+(?P<words>.+)$", re.IGNORECASE | re.MULTILINE)
Shipped = Callable[[str], bool]


def shipped_in_image(directory: Path) -> Shipped:
    """Whether a path, from the working copy, is copied into the image that its build file makes."""
    sources = [source for name in _BUILD_FILES for source in _sources(_text(directory / name))]
    ignored = next((text for name in _IGNORE_FILES if (text := _text(directory / name))), "")
    rules = list(_rules(ignored))

    def shipped(path: str) -> bool:
        return any(_covers(source, path) for source in sources) and not _is_ignored(path, rules)

    return shipped


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def _sources(text: str) -> Iterator[str]:
    """What COPY and ADD take from the folder; what they take from another image is not ours."""
    for found in _COPY.finditer(_CONTINUED.sub(" ", text)):
        words = found["words"].strip()
        flags = re.match(r"(?:--\S+\s+)*", words)
        rest = words[flags.end() :] if flags else words
        if "--from=" in words[: len(words) - len(rest)]:
            continue
        try:
            parts = json.loads(rest) if rest.startswith("[") else rest.split()
        except ValueError:
            continue
        yield from (str(part) for part in parts[:-1])


def _covers(source: str, path: str) -> bool:
    source = source.removeprefix("/").removeprefix("./").rstrip("/")
    return source in {"", "."} or bool(_pattern(source).fullmatch(path))


def _rules(text: str) -> Iterator[tuple[re.Pattern[str], bool]]:
    for line in text.splitlines():
        rule = line.strip()
        if rule and not rule.startswith("#"):
            again = rule.startswith("!")
            yield _pattern(rule.removeprefix("!").strip().removeprefix("/").removeprefix("./").rstrip("/")), not again


def _is_ignored(path: str, rules: list[tuple[re.Pattern[str], bool]]) -> bool:
    return next((ignores for pattern, ignores in reversed(rules) if pattern.fullmatch(path)), False)


def _pattern(glob: str) -> re.Pattern[str]:
    """A glob that covers what is inside a folder too; a star does not reach beyond a slash, two do."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    split = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(parts.get(part, re.escape(part)) for part in split) + "(?:/.*)?")
