"""Keep known secrets out of bytes on their way to a log, a terminal or a report.

A net, not a promise: the forms listed in `_spellings` are caught, also when they are
broken over lines; any other transformation passes. What a step must not show, it
should not be given.

Each form is looked for twice. First its characters without white space, by plain
search in the text without white space: that is fast and says at once that nothing is
there. Only where it hits, a pattern finds the exact place.
"""

import base64
import html
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import quote, quote_plus

from deployguard.errors import Refused
from deployguard.secret import Secret

MASK = b"***"
SHORTEST = 8
"""Characters. A shorter secret would mask ordinary words (actions/runner#326)."""
_WHITE = b" \t\r\n"
_INDENT = 16
_BREAK = rb"(?:\r?\n[ \t]{0,%d})?" % _INDENT
_SPACE = rb"[ \t\r\n]{1,%d}" % (_INDENT + 2)


class _Form:
    """One spelling of a secret.

    Attributes:
        needle: its characters without white space.
        longest: bytes of its longest match.
    """

    def __init__(self, spelling: bytes) -> None:
        self._spelling = spelling
        self.needle = spelling.translate(None, _WHITE)
        self.longest = len(spelling) * (_INDENT + 3)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        words = (_BREAK.join(re.escape(bytes([c])) for c in word) for word in re.split(rb"[ \t\r\n]+", self._spelling))
        return re.compile(_SPACE.join(words))

    def spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """All places, also those that overlap."""
        found = self._pattern.search(data)
        while found:
            yield found.span()
            found = self._pattern.search(data, found.start() + 1)


class Masker:
    """Replaces every known form of some secrets by `***`.

    Raises:
        Refused: a secret is shorter than eight characters.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        spellings = {spelling for secret in secrets for part in _parts(secret) for spelling in _spellings(part)}
        self._forms = [_Form(spelling) for spelling in sorted(spellings, key=lambda s: (-len(s), s))]
        self._longest = max((form.longest for form in self._forms), default=0)
        self._ends: defaultdict[int, list[tuple[bytes, int]]] = defaultdict(list)
        for needle in {form.needle for form in self._forms}:
            for length in range(1, len(needle)):
                self._ends[needle[length - 1]].append((needle, length))

    def mask(self, data: bytes) -> bytes:
        """Mask bytes that are all there."""
        if not self._forms:
            return data
        stream = self.stream()
        return stream.feed(data) + stream.finish()

    def mask_text(self, text: str) -> str:
        """Mask text."""
        data = _bytes(text)
        masked = self.mask(data)
        return text if masked == data else masked.decode("utf-8", "replace")

    def contains(self, data: bytes | str) -> bool:
        """Whether any form of a secret is in it."""
        return bool(self.spans(_bytes(data) if isinstance(data, str) else data))

    def stream(self) -> "StreamMasker":
        """For bytes that come in pieces."""
        return StreamMasker(self)

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where forms of secrets are, in order, overlaps joined."""
        bare = data.translate(None, _WHITE)
        found = sorted(span for form in self._forms if form.needle in bare for span in form.spans(data))
        return list(_joined(found))

    def undecided(self, data: bytes) -> int:
        """How many last bytes may be the beginning of a secret whose rest is still to come."""
        tail = data[max(0, len(data) - self._longest) :]
        bare = tail.translate(None, _WHITE)
        if not bare:
            return 0
        ends = (length for needle, length in self._ends[bare[-1]] if bare.endswith(needle[:length]))
        return _reach(tail, max(ends, default=0))


class StreamMasker:
    """Masks bytes that come in pieces exactly as if they had come at once.

    Holds back only what may be the beginning of a secret: at most the longest
    form, usually nothing, so a line is seen when it is written.
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held = b""
        self._masked = 0  # bytes at the front of `_held` that a mask already stands for

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what can be shown by now."""
        if self._masker._longest == 0:  # noqa: SLF001 - its other half
            return data
        buffer = self._held + data
        return self._show(buffer, len(buffer) - self._masker.undecided(buffer))

    def finish(self) -> bytes:
        """Return the rest: no more will come."""
        return self._show(self._held, len(self._held))

    def _show(self, buffer: bytes, decided: int) -> bytes:
        shown, at, masked = [], 0, self._masked
        for start, end in self._masker.spans(buffer):
            if start >= decided:
                break
            if start >= masked:
                shown += [buffer[max(at, masked) : start], MASK]
            at = masked = max(masked, end)
        shown.append(buffer[max(at, masked) : decided])
        self._held, self._masked = buffer[decided:], max(0, masked - decided)
        return b"".join(shown)


def _joined(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start = end = -1
    for first, last in spans:
        if first >= end:
            if end > 0:
                yield start, end
            start = first
        end = max(end, last)
    if end > 0:
        yield start, end


def _reach(tail: bytes, length: int) -> int:
    """Bytes from the end that hold `length` characters which are not white space."""
    at = len(tail)
    while length:
        at -= 1
        length -= tail[at] not in _WHITE
    return len(tail) - at if at < len(tail) else 0


def _parts(secret: Secret) -> set[str]:
    """The secret, its lines and its JSON leaves: any of them may be printed alone."""
    whole = secret.reveal().strip()
    if not _long_enough(whole):
        raise Refused(
            f"the secret {secret.name} is too short to be masked: it has fewer than {SHORTEST} characters",
            hint="Use a longer secret; masking a short one would hide ordinary text and give it away.",
        )
    return {whole} | set(filter(_long_enough, map(str.strip, [*whole.splitlines(), *_leaves(whole)])))


def _long_enough(text: str) -> bool:
    return len("".join(text.split())) >= SHORTEST


def _leaves(text: str) -> Iterator[str]:
    try:
        todo = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, list):
            todo += value
        elif value is not None and not isinstance(value, bool):
            yield str(value)


def _spellings(part: str) -> set[bytes]:
    """Every form that is looked for."""
    raw = _bytes(part)
    texts = {
        part, repr(part)[1:-1], ascii(part)[1:-1], repr(raw)[2:-1],
        json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], json.dumps(part)[1:-1].replace("/", "\\/"),
        shlex.quote(part).strip("'"), part.replace("'", "'\\''"),
        re.sub(r"([^\w@%+=:,./-])", r"\\\1", part), re.sub(r'([$`"\\])', r"\\\1", part),
        html.escape(part), html.escape(part, quote=False),
    }  # fmt: skip
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        texts |= {quoted, re.sub("%..", lambda found: found[0].lower(), quoted)}
    return {_bytes(text.strip()) for text in texts} | set(_encodings(raw))


def _encodings(raw: bytes) -> Iterator[bytes]:
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield base64.b32encode(raw)[: len(raw) * 8 // 5]
    for offset in range(3):
        # characters at the edges share their bits with what stands beside the secret
        edges = slice(-(-offset * 8 // 6), (offset + len(raw)) * 8 // 6)
        yield base64.b64encode(b"\0" * offset + raw)[edges]
        yield base64.urlsafe_b64encode(b"\0" * offset + raw)[edges]


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # as an environment variable or a file had it
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
