"""Columns whose format only the application speaks: it seals and opens them itself, asked through a pipe.

One process of the application for each of ours, started when it is first needed, goes on until
nobody asks any more. It is slower than what we do ourselves by the speed of the application's
own fields; docs/decisions/0050-whose-keys.md.
"""

import base64
import json
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Any

from deployguard.errors import Refused, StepFailed
from deployguard.keys.keyring import LOCKED, Locked, Opened
from deployguard.keys.tokens import raw_forms, token_forms
from deployguard.portions import portions
from deployguard.process.deadline import deadline
from deployguard.process.piped import Piped, piped
from deployguard.rows.application import DEADLINE, Answer, Application, refusal

_SCRIPT = Path(__file__).with_name("probe_speak.py")
_ANSWER = 300.0
"""Seconds that the application may take over one portion."""
_VALUES, _BYTES = 500, 1 << 20
"""Of a portion, at most: what is under way when a run is to stop."""
_TELLING, _MOST = 3, 8
"""Bytes that all tokens must begin with for that to say something, and at which to stop comparing: what
follows may be a time."""
_NO_STAMP = b"\x80" + bytes(8)


class Speaker:
    """A process of the application that seals and opens."""

    def __init__(self, application: Application, fields: Sequence[str]) -> None:
        self._application, self._fields = application, fields
        self._nonce = secrets.token_hex(16)
        self._open = ExitStack()
        self._running: Piped | None = None
        self._described: Answer = {}

    def describe(self, field: str) -> Answer:
        """What the application says of a field: samples of its tokens, and an example of its plaintext.

        Raises:
            Refused: the application does not start, or the field cannot be worked with.
        """
        self._require()
        said: Answer | None = self._described.get(field)
        if said is None:
            raise Refused(
                f"{field} is no encrypted field of the application any more",
                hint="Bring the code that encrypts it, then go on.",
            )
        if said["obstacle"]:
            raise Refused(
                f"{field} is in a format that only the application speaks, and {said['obstacle']}",
                hint="Change the field to one that stores Fernet tokens, or leave it out of this deployment.",
            )
        return said

    def ask(self, do: str, field: str, values: Sequence[bytes]) -> list[bytes | None]:
        """Have a field seal or open values.

        Raises:
            Refused: as `describe`.
            StepFailed: the application ended, or does not answer.
        """
        self.describe(field)
        found: list[bytes | None] = []
        for some in portions(values, _BYTES, _VALUES):
            texts = [base64.b64encode(value).decode("ascii") for value in some]
            answer = self._talk({"do": do, "field": field, "values": texts}, _ANSWER)
            found += [None if text is None else base64.b64decode(text) for text in answer["values"]]
        return found

    def _require(self) -> None:
        if self._running is not None:
            return
        argv = self._application.script_command(_SCRIPT)
        self._running = self._open.enter_context(
            piped(
                argv, cwd=self._application.directory, env=self._application.environment(), timeout=TIMEOUT_MAX,
                write=True, read=True,
            )
        )  # fmt: skip
        manage = self._application.manage_command()[1]
        said = self._talk({"nonce": self._nonce, "manage": manage, "fields": list(self._fields)}, DEADLINE)
        if "problem" in said:
            raise refusal(self._application, said["problem"])
        self._described = said["fields"]

    def _talk(self, asked: dict[str, Any], seconds: float) -> Answer:
        running = self._running
        assert running is not None, "it was started"  # noqa: S101
        mark = self._nonce.encode() + b" "
        with deadline(seconds, running.expire):
            try:
                running.reads.write(json.dumps(asked).encode() + b"\n")
                running.reads.flush()
                # whatever else is printed is not ours
                line = next((each for each in running.writes if each.startswith(mark)), None)
            except BrokenPipeError:
                line = None
        if line is None:
            self.close()
            why = f"did not answer within {seconds:g} s" if running.timed_out else "ended"
            raise StepFailed(
                f"the application {why} while it sealed or opened values",
                hint="Look at its own log and at the machine's memory, then resume: nothing of this batch was kept.",
            )
        answer: Answer = json.loads(line.removeprefix(mark))
        return answer

    def close(self) -> None:
        """Let it end; it is started anew when it is needed again."""
        self._running = None
        self._open.close()


@dataclass(frozen=True)
class Spoken:
    """A column that the application seals and opens: see `Sealer`.

    Its keys are not seen, so every token that opens counts as one of the newest. Of a value
    that does not open, only the form can say that it is a damaged token and no plaintext:
    Fernet's, as text or as bytes, or what all tokens begin with.
    """

    speaker: Speaker
    field: str
    place: str

    fingerprints: tuple[str, ...] = ()

    @property
    def shortest(self) -> int:
        """A little less than the shortest sample, whose plaintext is not empty."""
        return min(map(len, self._samples())) * 2 // 3

    @property
    def example(self) -> bytes:
        """The sample's plaintext."""
        return base64.b64decode(self.speaker.describe(self.field)["example"])

    def _samples(self) -> list[bytes]:
        return [base64.b64decode(text) for text in self.speaker.describe(self.field)["samples"]]

    def seal_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """A token of each, opened again by the application before it is given out.

        Raises:
            StepFailed: one would not come back byte for byte.
        """
        sealed = self.speaker.ask("seal", self.field, plaintexts)
        tokens = [token for token in sealed if token is not None]
        if len(tokens) != len(sealed):
            raise StepFailed(
                f"{self.place}: the application would not give back {len(sealed) - len(tokens)} values byte for byte",
                hint="'deployguard data scan' names the rows. Nothing of this batch was kept.",
            )
        return tokens

    def open(self, token: bytes) -> Opened | None:
        """What a token holds."""
        found = self.look([token])[0]
        return found if isinstance(found, Opened) else None

    def look(self, values: Sequence[bytes]) -> list[Opened | Locked | None]:
        """What each value is: opened, built like a token and locked, or plaintext."""
        asked = [value for value in values if value]
        opened = iter(self.speaker.ask("open", self.field, asked))
        forms = iter(self._built(asked))
        found: list[Opened | Locked | None] = []
        for value in values:
            plaintext, form = (next(opened), next(forms)) if value else (None, None)
            if plaintext is not None:
                found.append(Opened(plaintext, 0))
            else:
                found.append(LOCKED if form is not None else None)
        return found

    def forms(self, values: Sequence[bytes]) -> list[bytes | None]:
        """Those that are built like a token or open; one without a stamp counts as very old."""
        built = self._built(values)
        rest = [value for value, form in zip(values, built, strict=True) if form is None and value]
        # whatever the application opens is a token, also one of an older format
        opened = iter(self.speaker.ask("open", self.field, rest))
        return [
            form if form is not None or not value else _NO_STAMP if next(opened) is not None else None
            for value, form in zip(values, built, strict=True)
        ]

    def _built(self, values: Sequence[bytes]) -> list[bytes | None]:
        """By the form alone."""
        samples = self._samples()
        for forms in (raw_forms, token_forms):
            if None not in forms(samples):
                return forms(values)
        mark = self._mark()
        return [_NO_STAMP if mark and value.startswith(mark) else None for value in values]

    def _mark(self) -> bytes | None:
        """What every token begins with; None where that tells nothing."""
        first, *others = self._samples()
        alike = takewhile(lambda n: all(other[n : n + 1] == first[n : n + 1] for other in others), range(len(first)))
        mark = first[: min(len(list(alike)), _MOST)]
        return mark if len(mark) >= _TELLING and others else None

    def sizes(self, plaintexts: Sequence[bytes]) -> list[int | None]:
        """Bytes of the token of each, which is made to see it."""
        return [None if token is None else len(token) for token in self.speaker.ask("seal", self.field, plaintexts)]
