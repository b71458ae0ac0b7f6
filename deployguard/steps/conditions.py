"""What can be watched: a log file, a page, a value in the database. Shared by the checks and the monitor."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from deployguard.errors import DeployguardError
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Context

_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Observation:
    """One look at a condition: whether it holds, and the value seen, fit for a report."""

    ok: bool
    value: str
    number: float | None = None


class Condition(BaseModel):
    """Something that is to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def name(self) -> str:
        """What it is called in the report."""
        raise NotImplementedError

    def begin(self, context: Context) -> Callable[[], Observation]:
        """Take a baseline now; the result looks once at each call."""
        raise NotImplementedError


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


Pattern = Annotated[str, pydantic.AfterValidator(_pattern)]


class Log(Condition):
    """A log file in which a pattern must not appear (or must)."""

    file: str
    """Path, from the working copy."""
    absent: Pattern | None = None
    """A regular expression that no new line may match."""
    present: Pattern | None = None
    """A regular expression that some line must match."""
    whole: bool = False
    """Look at what is there already too, not only at what is added."""
    required: bool = True
    """Whether the file must be there."""

    def name(self) -> str:
        """The file and what it is searched for."""
        return f"log {self.file}" + (f" without {self.absent}" if self.absent else f" with {self.present}")

    def begin(self, context: Context) -> Callable[[], Observation]:
        """Remember where the file ends now; a rotated or shortened file is read from its start."""
        path = context.target.directory / self.file
        tail = _Tail(path, whole=self.whole)
        seen = 0

        def look() -> Observation:
            nonlocal seen
            if not path.exists():
                return Observation(not self.required, f"{path.name} is not there")
            lines = tail.read()
            pattern = self.absent or self.present or ""
            seen += sum(1 for line in lines if re.search(pattern, line))
            # the matching line itself may hold what a user typed: only its number goes on record
            if self.absent is not None:
                return Observation(seen == 0, f"{seen} matching lines", float(seen))
            return Observation(seen > 0, f"{seen} matching lines", float(seen))

        return look


class _Tail:
    """New lines of a file that may be rotated under us."""

    def __init__(self, path: Path, *, whole: bool) -> None:
        self._path = path
        self._inode, self._at = self._facts()
        if whole:
            self._at = 0
        self._rest = b""

    def _facts(self) -> tuple[int, int]:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return facts.st_ino, facts.st_size

    def read(self) -> list[str]:
        inode, size = self._facts()
        if inode != self._inode or size < self._at:
            self._inode, self._at, self._rest = inode, 0, b""
        with self._path.open("rb") as stream:
            stream.seek(self._at)
            lines: list[str] = []
            while chunk := stream.read(_CHUNK):
                *whole, self._rest = (self._rest + chunk).split(b"\n")
                self._rest = self._rest[-_CHUNK:]
                lines += [line.decode("utf-8", "replace") for line in whole]
            self._at = stream.tell()
        return lines


class Http(Condition):
    """A page that answers as it should."""

    url: str
    status: int = 200
    contains: str | None = None
    """Text that the body must hold."""
    timeout: Duration = 10.0
    p95: str | None = None
    """A limit for the 95th percentile of response times: `< 300ms` or `< 1.2 * baseline`."""
    baseline_samples: Annotated[int, Field(ge=1, le=1000)] = 5

    _limit: ClassVar[re.Pattern[str]] = re.compile(
        r"<\s*(?:(?P<factor>[0-9.]+)\s*\*\s*baseline|(?P<ms>[0-9.]+)\s*(?P<unit>ms|s))\s*"
    )

    @pydantic.field_validator("p95")
    @classmethod
    def _is_limit(cls, value: str | None) -> str | None:
        if value is not None and cls._limit.fullmatch(value) is None:
            raise ValueError("a limit is written '< 300ms' or '< 1.2 * baseline'")
        return value

    def name(self) -> str:
        """The address."""
        return f"http {self.url}"

    def begin(self, context: Context) -> Callable[[], Observation]:  # noqa: ARG002
        """Measure the baseline, then look."""
        times: list[float] = []
        limit = self._bound()

        def look() -> Observation:
            status, seconds, wrong = self._ask()
            times.append(seconds)
            p95 = sorted(times)[int(0.95 * (len(times) - 1))]
            if not wrong and limit is not None and p95 >= limit:
                wrong = f"p95 {p95 * 1000:.0f} ms is not below {limit * 1000:.0f} ms"
            return Observation(not wrong, wrong or f"status {status} in {seconds * 1000:.0f} ms", seconds)

        return look

    def _bound(self) -> float | None:
        if self.p95 is None or (match := self._limit.fullmatch(self.p95)) is None:
            return None
        if match["ms"]:
            return float(match["ms"]) / (1000 if match["unit"] == "ms" else 1)
        times = sorted(self._ask()[1] for _ in range(self.baseline_samples))
        return float(match["factor"]) * times[int(0.95 * (len(times) - 1))]

    def _ask(self) -> tuple[int, float, str]:
        import httpx

        begun = time.monotonic()
        try:
            with (
                httpx.Client(timeout=self.timeout, follow_redirects=False) as client,
                client.stream("GET", self.url) as answer,
            ):
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _CHUNK or time.monotonic() - begun > self.timeout:
                        break
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return 0, time.monotonic() - begun, f"no answer ({type(error).__name__})"
        seconds = time.monotonic() - begun
        if answer.status_code != self.status:
            return answer.status_code, seconds, f"status {answer.status_code}, not {self.status}"
        if self.contains is not None and self.contains.encode() not in body:
            return answer.status_code, seconds, "the body lacks the expected text"
        return answer.status_code, seconds, ""


class Sql(Condition):
    """A single number in the database."""

    query: str
    """A query that gives one row with one number; it runs in a read-only connection."""
    expect: int | float | str = 0
    """The number itself, or a comparison such as `< 10`."""

    def name(self) -> str:
        """The query."""
        return f"sql {self.query}"

    def begin(self, context: Context) -> Callable[[], Observation]:
        """Nothing to remember: each look asks anew."""

        def look() -> Observation:
            database = context.target.connect(read_only=True)
            try:
                value = database.number(self.query)
            except DeployguardError as error:
                return Observation(False, error.message)
            finally:
                database.close()
            return Observation(holds(value, self.expect), f"{value:g}", value)

        return look


_COMPARISON = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(-?[0-9.]+)\s*")


def holds(value: float, expected: float | str) -> bool:
    """Whether a number is the expected one, or compares with it as `< 10` says."""
    if isinstance(expected, str) and (match := _COMPARISON.fullmatch(expected)):
        sign, bound = match[1], float(match[2])
        return {
            "<": value < bound, "<=": value <= bound, ">": value > bound,
            ">=": value >= bound, "==": value == bound, "!=": value != bound,
        }[sign]  # fmt: skip
    return value == float(expected)


class OneCondition(BaseModel):
    """Exactly one of log, http and sql."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log: Log | None = None
    http: Http | None = None
    sql: Sql | None = None
    severity: Literal["fail", "warn"] = "fail"

    @pydantic.model_validator(mode="after")
    def _one(self) -> Any:  # noqa: ANN401
        if sum(c is not None for c in (self.log, self.http, self.sql)) != 1:
            raise ValueError("a condition is one of log:, http: and sql:")
        return self

    def condition(self) -> Condition:
        """The one that is given."""
        found = self.log or self.http or self.sql
        assert found is not None  # noqa: S101 - the validator above
        return found
