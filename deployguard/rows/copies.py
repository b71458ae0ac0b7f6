"""Where else in a database the values of some columns stand in plain.

A part of the columns' rows is read and known by keyed digests (`telling.py` says which values
count); then every other column is looked through for them, as far as the time allows. Nothing
that was read is kept, told or written down: only places and numbers.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from deployguard.databases.base import Database, Page, RowTable, TableShape
from deployguard.databases.measure import is_whole, materialized_views
from deployguard.databases.search_index import SearchTable, has_full_text_index, holds, search_tables
from deployguard.errors import DeployguardError
from deployguard.keys.keyring import Opened
from deployguard.keys.sealer import Sealers
from deployguard.rows.places import Places, cached_texts
from deployguard.rows.progress import Meter, Pulse
from deployguard.rows.spread import Spread, spread
from deployguard.rows.tables import as_declared
from deployguard.rows.telling import Digests, Parts, Telling, parts_of, words_of

SURE = 3
"""Different telling values from which on a place holds a copy, and not by chance one or two like it. Single words
stand in any list of words: fewer than these say nothing, and it takes half of the rows to be sure."""
_SOURCE = 50_000
"""Rows of each table with encrypted columns that are read."""
_OTHER = 200_000
"""Rows of any other table."""
_SESSIONS = 20_000
"""Sessions: the application is given all of them at once."""
_ASKED = 300
"""Values of each column that a full-text index is asked for."""
_PHRASE = 200
"""Characters of such a value at most."""

# what holds no text; types that are not known here are looked at
_NO_TEXT = re.compile(
    r"(numeric|decimal|real|double|float|bool|bit|date|time|interval|uuid|oid|money|year|point|geometry|line|box|circle"
    r"|polygon|.*int(4|8|num|multi)?range).*",
    re.IGNORECASE,
)

Texts = Callable[[Sequence[str]], Iterator[list[str] | None]]
"""Sessions → the texts in each; the application decodes them."""


@dataclass(frozen=True)
class Source:
    """A column whose values are, or are to be, encrypted, and what is known of them.

    Attributes:
        read: rows.
        telling: different values by which a copy would be recognised.
    """

    table: str
    column: str
    read: int = 0
    telling: int = 0


@dataclass(frozen=True)
class Copy:
    """A place that holds values of the columns.

    Attributes:
        place: table.column, or a file by its folder's name and what follows.
        kind: what it is: column, history, audit log, versions, admin log, session, cache, search index, file.
        of: the columns whose values it holds, as table.column.
        values: different telling values that were found.
        words: how many of them are single words of letters.
        rows: rows that hold one; 0 for a file, as are the next two.
        looked, total: rows looked at, and about how many there are.
    """

    place: str
    kind: str
    of: tuple[str, ...]
    values: int
    words: int
    rows: int
    looked: int
    total: int

    @property
    def sure(self) -> bool:
        """Whether it cannot be chance."""
        return self.values - self.words >= SURE or (self.values >= SURE and 0 < self.looked <= 2 * self.rows)


@dataclass(frozen=True)
class Unlooked:
    """A place that was not looked at, or not to its end, and why."""

    place: str
    why: str
    partly: bool = False


@dataclass
class Look:
    """One search.

    Attributes:
        places: what the application says of itself.
        sessions: decodes them; None where no application can.
        left: seconds of the search that are left.
    """

    database: Database
    keyring: Sealers | None
    places: Places
    sessions: Texts | None
    left: Callable[[], float]
    pulse: Pulse
    unlooked: list[Unlooked] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Ask which product it is, once."""
        self._engine = self.database.identity().engine

    def learn(self, columns: Sequence[tuple[str, str]]) -> tuple[list[Source], Digests, list[list[str]]]:
        """Read the columns, given as table and column; some of their values as they are, to ask an index for."""
        telling = Telling(len(columns))
        examples: list[list[str]] = [[] for _ in columns]
        read = [0] * len(columns)
        for table in dict.fromkeys(table for table, _ in columns):
            opened = self._open(table, tuple(column for of, column in columns if of == table))
            if opened is None:
                continue
            mine = [columns.index((table, column)) for column in opened.table.columns]
            # learning may take half of the time, all tables alike
            for page in self._pages(opened, _SOURCE, 0.5 / len(columns) * len(mine)):
                for at, place in enumerate(mine):
                    read[place] += len(page)
                    for text in self._as_read(page.columns[at], *columns[place]):
                        telling.add(place, text)
                        if len(examples[place]) < _ASKED and len(text) <= _PHRASE:
                            examples[place].append(text)
        digests = telling.digests()
        sources = [Source(*column, read[i], digests.telling[i]) for i, column in enumerate(columns)]
        return sources, digests, examples

    def _as_read(self, values: Sequence[bytes | None], table: str, column: str) -> Iterator[str]:
        """Values as the application reads them; tokens that no key opens are left out."""
        given = [value or b"" for value in values]
        found = self.keyring.of(table, column).look(given) if self.keyring is not None else [None] * len(given)
        for value, opened in zip(given, found, strict=True):
            plain = value if opened is None else opened.plaintext if isinstance(opened, Opened) else b""
            if plain:
                yield plain.decode("utf-8", "replace")

    def find(self, sources: Sequence[Source], digests: Digests, examples: Sequence[Sequence[str]]) -> Iterator[Copy]:
        """Look through every column that is not one of the sources, small tables first."""
        known = {(s.table, s.column) for s in sources}
        tables = self.database.tables()
        if views := materialized_views(self.database, self._engine):
            self.unlooked.append(Unlooked("materialized views", f"there are {views}, and they have no key to page by"))
        indexes = search_tables(self.database, self._engine, tables)
        yield from self._in_indexes(sources, digests, examples, indexes)
        behind = {name for index in indexes for name in (index.name, *index.shadows)}
        todo = [o for t in tables if t not in behind and (o := self._open(t, skip=known))]
        todo.sort(key=lambda opened: opened.total)
        for number, opened in enumerate(todo):
            if self.left() <= 0:
                self.unlooked.append(Unlooked(f"{opened.table.name}.*", "there was no time left"))
            else:
                yield from self._in_table(opened, sources, digests, 1 / (len(todo) - number))

    def _open(self, table: str, columns: tuple[str, ...] = (), skip: Iterable[tuple[str, str]] = ()) -> Spread | None:
        """A table to look through, with some columns or all that may hold text; None where it cannot be."""
        try:
            shape = self.database.shape(table)
            wanted = columns or tuple(c for c in shape.columns if (table, c) not in skip and _may_hold_text(shape, c))
            missing = [c for c in wanted if c not in shape.columns]
            self.unlooked += [Unlooked(f"{table}.{c}", "the column is not in the database") for c in missing]
            wanted = tuple(c for c in wanted if c not in missing)
            # on SQLite every row has a number, but for tables that must have a key
            key = shape.key or (("rowid",) if self._engine == "sqlite" else ())
            if wanted and not key:
                self.unlooked.append(Unlooked(f"{table}.*", "it has no primary key to page by"))
            if not wanted or not key:
                return None
            found = spread(self.database, self._engine, shape, key, wanted)
            return replace(found, table=as_declared(found.table, shape)) if columns else found
        except DeployguardError as error:
            self.unlooked.append(Unlooked(f"{table}.*", error.message))
            return None

    def _pages(self, opened: Spread, most: int, share: float) -> Iterator[Page]:
        """Portions of a table, at least one, for a share of the time that is left."""
        until = self.left() * (1 - share)
        name = opened.table.name
        meter = Meter(f"reading {name}", min(opened.total, most), self.pulse)
        try:
            for page in opened.pages(most):
                meter.add(len(page), len(page))
                yield page
                if self.left() < until:
                    break
            else:
                if meter.done < most:
                    return  # to its end
        except DeployguardError as error:
            self.unlooked.append(Unlooked(f"{name}.*", error.message, partly=meter.done > 0))
            return
        # the total is an estimate, and may be an old one
        if meter.done < opened.total or meter.done >= most:
            seen = f"{meter.done:,} of about {max(opened.total, meter.done):,} rows were looked at"
            self.unlooked.append(Unlooked(f"{name}.*", seen, partly=True))

    def _in_table(self, opened: Spread, sources: Sequence[Source], digests: Digests, share: float) -> Iterator[Copy]:
        table, kind = opened.table, self.places.kinds.get(opened.table.name, "column")
        counts = [_Count() for _ in table.columns]
        sealed: list[str] = []
        for page in self._pages(opened, _SESSIONS if table.name in self.places.sessions else _OTHER, share):
            for at, column in enumerate(table.columns):
                texts = [v.decode("utf-8", "replace") for v in page.columns[at] if v]
                if table.name in self.places.sessions and column == "session_data":
                    sealed += texts
                    continue
                for text in texts:
                    counts[at].add(digests.found_in(self._parts(table, column, text)))
            for count in counts:
                count.looked += len(page)
        for at, column in enumerate(table.columns):
            is_cache = table.name in self.places.caches
            yield from counts[at].told(
                f"{table.name}.{column}", "cache" if is_cache else kind, opened, sources, digests
            )
        if sealed:
            yield from self._in_sessions(opened, sealed, sources, digests)

    def _parts(self, table: RowTable, column: str, text: str) -> Parts:
        if table.name in self.places.caches and column == "value" and (texts := cached_texts(text)) is not None:
            return Parts(texts, texts)
        if text.startswith("\\x") and self._engine == "postgresql":
            return parts_of(_of_bytes(text))
        return parts_of(text)

    def _in_sessions(
        self, opened: Spread, sealed: Sequence[str], sources: Sequence[Source], digests: Digests
    ) -> Iterator[Copy]:
        place, count = f"{opened.table.name}.session_data", _Count()
        if self.sessions is None:
            self.unlooked.append(Unlooked(place, "only the application can decode sessions"))
            return
        unread = 0
        for texts in self.sessions(sealed):
            count.looked += 1
            unread += texts is None
            count.add(digests.found_in(Parts(texts or (), texts or ())))
        if unread:
            why = f"{unread:,} of {count.looked:,} sessions are empty or the application does not decode them"
            self.unlooked.append(Unlooked(place, why, partly=True))
        yield from count.told(place, "session", opened, sources, digests)

    def _in_indexes(
        self, sources: Sequence[Source], digests: Digests, examples: Sequence[Sequence[str]],
        indexes: Sequence[SearchTable],
    ) -> Iterator[Copy]:  # fmt: skip
        for source in sources:
            if has_full_text_index(self.database, self._engine, source.table, source.column):
                name = f"{source.table}.{source.column}"
                read = source.read
                yield Copy(f"{name} (full-text index)", "search index", (name,), source.telling, 0, read, read, read)
        for index in indexes:
            for column in index.columns:
                count = _Count()
                for text in dict.fromkeys(text for some in examples for text in some):
                    if found := digests.found_in_words(words_of(text)):
                        count.looked += 1
                        count.add(found if holds(self.database, index, column, text) else set())
                yield from count.told(f"{index.name}.{column}", "search index", None, sources, digests)


@dataclass
class _Count:
    """What was found in one place."""

    rows: int = 0
    looked: int = 0
    found: set[int] = field(default_factory=set)

    def add(self, digests: set[int]) -> None:
        """One row."""
        self.rows += bool(digests)
        self.found |= digests

    def told(
        self, place: str, kind: str, opened: Spread | None, sources: Sequence[Source], digests: Digests
    ) -> Iterator[Copy]:
        """The copy, if there is one."""
        total = max(opened.total if opened else 0, self.looked)
        yield from copied(place, kind, self.found, sources, digests, rows=self.rows, looked=self.looked, total=total)


def copied(
    place: str, kind: str, found: set[int], sources: Sequence[Source], digests: Digests,
    *, rows: int = 0, looked: int = 0, total: int = 0,
) -> Iterator[Copy]:  # fmt: skip
    """The copy that telling values make; none where there are only one or two words."""
    words = len(found - digests.inside)
    if len(found) > words or words >= SURE:
        of = tuple(f"{sources[i].table}.{sources[i].column}" for i in sorted(digests.columns_of(found)))
        yield Copy(place, kind, of, len(found), words, rows, looked, total)


def _may_hold_text(shape: TableShape, column: str) -> bool:
    declared = shape.columns[column].type
    return not is_whole(declared) and _NO_TEXT.fullmatch(declared) is None


def _of_bytes(text: str) -> str:
    try:
        return bytes.fromhex(text[2:]).decode("utf-8", "replace")
    except ValueError:
        return text
