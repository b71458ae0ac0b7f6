"""Seals and opens values by the application's own fields, for as long as somebody asks.

Runs as `probe.py` does, beside which it stands: in the application's own interpreter, standard
library and Django only, Python 3.8. It opens no connection to a database: values come through
stdin and go back through stdout, a line of JSON each way, and are never in a message.

A value is plaintext in the form in which the column held it before it was encrypted: what
Django's own field of that kind would store, as text. That form is tried for each value: one
that does not come back byte for byte is not sealed.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict  # noqa: UP035 - Python 3.8

# Django comes from the application and is untyped here; these names say what is meant.
Field = Any
Value = Any
Finding = Any
Json = Dict[str, Any]  # noqa: UP006 - evaluated, and Python 3.8 has no dict[...]

# the script beside this one; as a module it would stand in the way of one of the application's own
probe: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("probe.py"))))

_TRIAL = "Tõsi 5 otra"
"""Another text than the sample, to see what all tokens of a field begin with."""


class Spoken:
    """A field that seals and opens, and the form that its plaintext had."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.field: Field = finding.field
        self.binary = isinstance(finding.stored, bytes)
        self.json = probe.wraps_json(finding)
        self.plain = _bare(self.field)
        self.sample = {"sample": "Zoë 7 sample"} if self.json else finding.sample

    def _stores(self, value: Value) -> bool:
        try:
            return bool(probe.reads_as(self.field, self._store(value), self.finding.alias, value))
        except Exception:
            return False

    def _store(self, value: Value) -> Value:
        return probe.store(self.finding.model, self.field, value, self.finding.alias)

    def spell(self, value: Value) -> bytes:
        """A value as the column held it before."""
        if self.json:
            return json.dumps(value, cls=getattr(self.field, "encoder", None)).encode("utf-8")
        from django.db import connections

        stored = self.plain.get_db_prep_save(value, connection=connections[self.finding.alias])
        for wrapper in ("adapted", "obj"):  # psycopg2's and psycopg 3's Binary
            stored = getattr(stored, wrapper, stored)
        if isinstance(stored, (bytes, bytearray, memoryview)):
            return bytes(stored)
        if isinstance(stored, bool):
            # as each product writes it out
            words = ("false", "true") if connections[self.finding.alias].vendor == "postgresql" else ("0", "1")
            return words[stored].encode("ascii")
        return (stored.isoformat() if isinstance(stored, (dt.date, dt.time)) else str(stored)).encode("utf-8")

    def parse(self, plaintext: bytes) -> Value:
        """The value that stood in the column in that form."""
        from django.db import models

        if isinstance(self.plain, models.BinaryField):
            return plaintext
        text = plaintext.decode("utf-8")
        return json.loads(text, cls=getattr(self.field, "decoder", None)) if self.json else self.plain.to_python(text)

    def seal(self, plaintext: bytes) -> bytes | None:
        """What the field stores for it; None where it would not come back byte for byte."""
        try:
            value = self.parse(plaintext)
            stored = self._store(value)
            token = stored.encode("utf-8") if isinstance(stored, str) else stored
            exact = token and self.spell(value) == plaintext and self.open(token) == plaintext
        except Exception:
            return None
        return token if exact else None

    def open(self, stored: bytes) -> bytes | None:
        """The plaintext inside; None where the field does not take it for sealed."""
        try:
            given = stored if self.binary else stored.decode("utf-8")
            value = probe.read(self.field, given, self.finding.alias)
            if value is None or self._is_plain(stored, value):
                return None
            return self.spell(value)
        except Exception:
            return None

    def _is_plain(self, stored: bytes, value: Value) -> bool:
        """Whether a value was only read through: a field may hand back what is not encrypted as it stands."""
        if isinstance(value, str) and value.encode("utf-8") == stored:
            return True
        try:
            return bool(probe.same(self.parse(stored), value))
        except Exception:
            return False

    def obstacle(self) -> str:
        """Why it cannot be worked with; empty where it can."""
        try:
            plaintext = self.spell(self.sample)
            sealed = self.seal(plaintext)
        except Exception as error:
            return f"its plaintext has no form that could be stored ({type(error).__name__})"
        if sealed is None:
            return "it does not give a value back as the column held it"
        # damage must not read as a value: what is no token would count as one
        for wrong in (sealed[:-3] + b"AAA", sealed[: len(sealed) // 2], b"no token, and no value either"):
            if self.open(wrong) is not None:
                return "it reads damaged values as if they were good"
        if self.open(plaintext) is not None:
            return "it reads plaintext as another value"
        return ""

    def described(self) -> Json:
        """What the host needs to know of it."""
        obstacle = self.obstacle()
        if obstacle:
            return {"obstacle": obstacle}
        trial = {"other": _TRIAL} if self.json else _TRIAL if isinstance(self.sample, str) else self.sample
        samples = [self.seal(self.spell(self.sample))]
        if self._stores(trial):
            samples.append(self.seal(self.spell(trial)))
        return {
            "obstacle": "",
            "example": _text(self.spell(self.sample)),
            "samples": [_text(each) for each in samples if each],
        }


def _bare(field: Field) -> Field:
    """Django's own field of the same kind, with the same settings, that does not encrypt."""
    base: Any = next(each for each in type(field).__mro__ if each.__module__.startswith("django.db.models"))
    bare = base.__new__(base)
    bare.__dict__.update(field.__dict__)
    return bare


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def main() -> None:
    """Answer line by line until nobody asks any more."""
    line = os.dup(1)
    os.dup2(2, 1)
    orders = json.loads(sys.stdin.readline())
    out = os.fdopen(line, "wb")

    def tell(answer: Json) -> None:
        out.write(orders["nonce"].encode() + b" " + json.dumps(answer).encode() + b"\n")
        out.flush()

    try:
        probe.start(orders["manage"])
        fields = {each.name: Spoken(each) for each in probe.survey()[0] if each.name in orders["fields"]}
        answer = {"fields": {name: each.described() for name, each in fields.items()}}
    except BaseException as error:  # the application's SystemExit is an answer too
        tell({"problem": probe.problem(error, str(Path(orders["manage"]).parent))})
        os._exit(0)
    # whatever the application says of each of a million values would fill the disk
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    tell(answer)
    for asked in map(json.loads, sys.stdin):
        spoken = fields[asked["field"]]
        done = spoken.seal if asked["do"] == "seal" else spoken.open
        results = [done(base64.b64decode(value)) for value in asked["values"]]
        tell({"values": [None if each is None else _text(each) for each in results]})
    os._exit(0)


if __name__ == "__main__":
    main()
