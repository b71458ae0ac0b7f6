"""`tools.present`: the programs that the run will call are here and new enough."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from deployguard.backup.tools import find, version
from deployguard.databases.url import parse_url
from deployguard.errors import DeployguardError
from deployguard.steps.base import Check, Context, Outcome

Problem = tuple[str, str]
Least = Annotated[str, StringConstraints(pattern=r"^(\d+(\.\d+)*)?$")]

_DEBIAN = "/usr/lib/postgresql/*/bin"
# for each product what backups call; of each group one is enough
_CLIENTS = {
    "postgresql": (("pg_dump",), ("pg_restore",)),
    "mysql": (("mariadb-dump", "mysqldump"), ("mariadb", "mysql")),
}
_PACKAGES = {"postgresql": "postgresql-client", "mysql": "mariadb-client (or mysql-client)"}


class ToolsPresent(Check):
    """Check that programs are installed: git, the database's own dump and restore, and those named.

    A dump program must be at least as new as the server that it dumps.
    """

    uses: ClassVar[str] = "tools.present"
    example: ClassVar[str] = '- uses: tools.present\n  with: { tools: { git: "2.30", systemctl: "" } }'

    tools: Mapping[str, Least] = Field(default_factory=dict)
    """Further programs, each with the oldest version that will do; "" where any will."""
    database: bool = True
    """Also the client programs of the environment's database product."""

    def execute(self, context: Context) -> Outcome:
        """Look each up as the steps do, and ask its version."""
        found: dict[str, str] = {}
        problems: list[Problem] = []
        for name, least in {"git": "", **self.tools}.items():
            _seek((name,), _numbers(least), f"Install {name}, or put it on PATH.", found, problems)
        if self.database and context.target.database_url is not None:
            product = parse_url(context.target.database_url).product
            for names in _CLIENTS.get(product, ()):
                hint = f"Install {_PACKAGES[product]}, as new as the server or newer."
                _seek(names, _server(context), hint, found, problems)
        if problems:
            return Outcome(
                "; ".join(what for what, _ in problems), "fail",
                " ".join(dict.fromkeys(fix for _, fix in problems)), {"tools": found},
            )  # fmt: skip
        return Outcome(", ".join(f"{name} {number}" for name, number in found.items()), evidence={"tools": found})


def _seek(
    names: tuple[str, ...], least: tuple[int, ...], hint: str, found: dict[str, str], problems: list[Problem]
) -> None:
    """The best program of several names, or why there is none."""
    seen: list[str] = []
    for program in find(names, _DEBIAN):
        number = _version(program)
        if number[: len(least)] >= least:
            found[Path(program).name] = ".".join(map(str, number)) or "of unknown version"
            return
        seen.append(".".join(map(str, number)) or "of unknown version")
    name = " or ".join(names)
    wanted = ".".join(map(str, least))
    problems.append((f"{name} is {', '.join(seen)}, {wanted} is needed" if seen else f"{name} is not installed", hint))


def _version(program: str) -> tuple[int, ...]:
    try:
        return version(program)[1]
    except DeployguardError:
        return ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)


def _server(context: Context) -> tuple[int, ...]:
    """Major version of a PostgreSQL server; others' dump programs are not bound to the server's."""
    database = context.target.connect(read_only=True)
    try:
        identity = database.identity()
    finally:
        database.close()
    number = re.match(r"\d+", identity.version)
    return (int(number[0]),) if number and identity.engine == "postgresql" else ()
