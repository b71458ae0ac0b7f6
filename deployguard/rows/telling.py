"""Values by which a copy is recognised, known only as keyed digests.

A value tells of a copy if it would hardly be written twice by chance:

- it has at least six letters and digits, or eight digits without a letter, and is no date;
- it stands in at most three of the rows that were read of its own column.

So "", "a", "Köln" or a name that a hundred people have tell nothing. One that is a single word
of letters ("Lovelace") counts only where it is all of a value, since it may be any word; one with a
digit or of several words ("user_7", "ann@example.org", "203.0.113.7") also inside a longer text.

Texts are compared by their letters and digits alone, in small ones: a full-text index, a log or
an export writes the same value with other signs around it.
"""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

FREQUENT = 3
"""Rows of a column that one value may stand in and still tell of a copy."""
_LETTERS, _DIGITS = 6, 8
_LONGEST = 12
"""Words of a value that is looked for inside longer texts."""
_MOST = 256 * 1024
"""Characters of one value that are looked at."""
_RUN = re.compile(r"[^\W_]+")
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_BETWEEN = re.compile(r"[\r\n\t,;|<>\"]+")
_JSON = ("{", "[")

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """The letters and digits of a text in small ones, word by word."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return tuple(_RUN.findall(text.casefold()))


class Parts(NamedTuple):
    """A text taken apart.

    Attributes:
        alone: what of it may be a value by itself.
        texts: what of it may hold values among other words.
    """

    alone: Sequence[str]
    texts: Sequence[str]


def parts_of(text: str) -> Parts:
    """A text as it stands in a column: all of it, and where it is JSON, the texts inside."""
    parsed = _parsed(text)
    if parsed is None:
        return Parts([text], [text])
    # as written in JSON, a text may hide behind escapes
    inside = list(leaves(parsed, names=True))
    return Parts([text, *inside], inside)


def cells_of(text: str) -> Parts:
    """A text as it stands in a file: a table, a document or a log."""
    return Parts([text, *_BETWEEN.split(text)], [text])


def leaves(value: Any, *, names: bool = False) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """The texts inside a JSON value, and the names of its parts if asked for; texts that are JSON are opened too."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo += [*each.values(), *(each if names else ())]
        elif isinstance(each, list):
            todo += each
        elif isinstance(each, str):
            inner = _parsed(each)
            if inner is None:
                yield each
            else:
                todo.append(inner)


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON; None where it is none
    if not text.lstrip().startswith(_JSON):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_telling(words: Words) -> bool:
    joined = "".join(words)
    if joined.isdecimal():
        return len(joined) >= _DIGITS and _DATE.match(joined) is None
    return len(joined) >= _LETTERS


def _is_marked(words: Words) -> bool:
    return len(words) > 1 or not words[0].isalpha()


@dataclass(frozen=True)
class Digests:
    """Telling values of some columns.

    Attributes:
        columns: by digest, the places of the columns that hold the value.
        inside: digests that count inside longer texts too.
        starts: digest of a first word → numbers of words of the values that begin with it.
        telling: by column, how many different telling values it has.
    """

    key: bytes
    columns: Mapping[int, frozenset[int]]
    inside: frozenset[int]
    starts: Mapping[int, tuple[int, ...]]
    telling: tuple[int, ...]

    def found_in(self, parts: Parts) -> set[int]:
        """Digests of the telling values in a text."""
        found = {self._digest(words_of(part[:_MOST])) for part in parts.alone} & self.columns.keys()
        for text in parts.texts:
            found |= self.found_in_words(words_of(text[:_MOST]))
        return found

    def found_in_words(self, words: Words) -> set[int]:
        """Digests of the telling values that may stand among other words."""
        return set(self._inside(words))

    def _inside(self, words: Words) -> Iterator[int]:
        known: dict[str, tuple[int, ...]] = {}
        for at, word in enumerate(words):
            lengths = known.get(word)
            if lengths is None:
                lengths = known[word] = self.starts.get(self._digest((word,)), ())
            for length in lengths:
                if at + length <= len(words) and (one := self._digest(words[at : at + length])) in self.inside:
                    yield one

    def _digest(self, words: Words) -> int:
        return _digest(self.key, words)

    def columns_of(self, found: Iterable[int]) -> set[int]:
        """The places of the columns that some digests are of."""
        return {column for digest in found for column in self.columns[digest]}


class Telling:
    """Takes values in, column by column; gives out the digests of those that tell of a copy."""

    def __init__(self, columns: int) -> None:
        self._key = os.urandom(32)
        self._seen: list[Counter[int]] = [Counter() for _ in range(columns)]
        self._inside: dict[int, tuple[int, int]] = {}

    def add(self, column: int, text: str) -> None:
        """One row's value."""
        parsed = _parsed(text)
        for part in dict.fromkeys([text, *(leaves(parsed) if parsed is not None else ())]):
            words = words_of(part[:_MOST])
            if words and _is_telling(words):
                digest = _digest(self._key, words)
                self._seen[column][digest] += 1
                if len(words) <= _LONGEST and _is_marked(words):
                    self._inside[digest] = (_digest(self._key, words[:1]), len(words))

    def digests(self) -> Digests:
        """All that are rare enough."""
        rare = [{d for d, count in seen.items() if count <= FREQUENT} for seen in self._seen]
        columns: dict[int, frozenset[int]] = {}
        for place, digests in enumerate(rare):
            alone = frozenset([place])
            for digest in digests:
                columns[digest] = columns[digest] | alone if digest in columns else alone
        # what is frequent in one column tells nothing, however rare it is in another
        for place, seen in enumerate(self._seen):
            for digest in seen.keys() - rare[place]:
                columns.pop(digest, None)
        inside = frozenset(digest for digest in self._inside if digest in columns)
        starts: dict[int, set[int]] = {}
        for digest in inside:
            first, length = self._inside[digest]
            starts.setdefault(first, set()).add(length)
        return Digests(
            self._key, columns, inside, {first: tuple(sorted(n)) for first, n in starts.items()},
            tuple(len(digests & columns.keys()) for digests in rare),
        )  # fmt: skip


def _digest(key: bytes, words: Sequence[str]) -> int:
    return int.from_bytes(blake2b(" ".join(words).encode(), key=key, digest_size=8).digest(), "big")
