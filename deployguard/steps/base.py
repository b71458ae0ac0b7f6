"""What a step kind is, and what it is given to work with.

A kind is one class: its fields are the keys under `with:`, its methods are what
happens, and the undo stands beside the do.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from deployguard.clock import Clock
from deployguard.errors import Refused
from deployguard.journal.home import Home
from deployguard.masking import Masker
from deployguard.process import Result
from deployguard.runbook.quantities import spell
from deployguard.secret import Secret

if TYPE_CHECKING:  # every command imports this file: whoever connects, encrypts or asks the application pays for it
    from deployguard.databases.base import Database
    from deployguard.databases.url import DatabaseUrl
    from deployguard.journal.state import Watched
    from deployguard.keys.keyring import Keyring
    from deployguard.rows.application import Application
    from deployguard.rows.discover import ApplicationDatabase, Discovery

JSON = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a step has to show for itself.

    Attributes:
        summary: one line for people.
        status: pass, warn or fail. Only a check may fail this way; a step raises.
        hint: what to do about a warning or failure.
        evidence: facts for the report, plain JSON.
        outputs: values for later steps' expressions, by the names the kind declares.
        result: the command it ran last, if any: its exit status, tail and log go on record.
    """

    summary: str
    status: str = "pass"
    hint: str = ""
    evidence: JSON = field(default_factory=dict)
    outputs: JSON = field(default_factory=dict)
    result: Result | None = None


@dataclass(frozen=True)
class Preview:
    """What a step would do, found out without changing a byte.

    Attributes:
        verdict: `would run`, `already done`, or `unknown` with the reason in `summary`.
        commands: argv of what it would run, as text.
        rows, bytes, seconds: how much there is to do, where that can be told.
    """

    verdict: str = "would run"
    summary: str = ""
    commands: tuple[str, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    evidence: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is."""

    label: str
    done: int
    total: int | None = None
    unit: str = "rows"
    rate: float | None = None
    """Units a second, lately."""
    note: str = ""


Pulse = Callable[[Progress], None]


@dataclass
class Secrets:
    """The secrets an environment declares, fetched when first asked for."""

    fetchers: Mapping[str, Callable[[], Secret]]
    places: Mapping[str, str]
    """Where each is kept, in words."""
    _known: dict[str, Secret] = field(default_factory=dict)

    def get(self, name: str) -> Secret:
        """One secret.

        Raises:
            Refused: it is not declared, or its source would not give it.
        """
        if name not in self._known:
            if name not in self.fetchers:
                raise Refused(f"the secret {name} is not declared", hint=f"Add {name} under secrets: in the runbook.")
            self._known[name] = self.fetchers[name]()
        return self._known[name]

    def place(self, name: str) -> str:
        """Where the secret is kept, in words fit for a report."""
        return self.places.get(name, "nowhere")

    def names(self) -> tuple[str, ...]:
        """All declared names, in the runbook's order."""
        return tuple(self.fetchers)


@dataclass(frozen=True)
class Target:
    """The environment as steps see it.

    Attributes:
        directory: the working copy that runs there.
        project: the runbook's folder; relative paths of the runbook begin here.
        database_url: None where the environment has no database.
        keys: names of the field-encryption keys among the secrets, newest first.
        commit: the commit this run is to bring there; None without `code:`.
        home: deployguard's own folder; nothing of it exists yet in a preflight.
        elsewhere: the secrets of the other environments, by its name; fetched only when asked for.
        replicas: URLs of databases that copy this one.
    """

    environment: str
    directory: Path
    project: Path
    home: Home
    secrets: Secrets
    masker: Masker
    clock: Clock
    database_url: str | Secret | None = None
    keys: tuple[str, ...] = ()
    commit: str | None = None
    remote: str = "origin"
    branch: str = "main"
    application_parts: "Application | None" = None
    remembered: dict[str, Any] = field(default_factory=dict, compare=False)
    """What the application said; forgotten before each step that may change its code or packages."""
    elsewhere: Mapping[str, Secrets] = field(default_factory=dict)
    replicas: tuple[str | Secret, ...] = ()
    pages: tuple[str, ...] = ()
    """Addresses that the plan's steps ask, as far as they are known beforehand."""
    databases: Mapping[str, str | Secret] = field(default_factory=dict)
    """URLs of the steps that have a database of their own, by the step's id."""
    own: bool = False
    """Whether `database_url` is a step's own, and the application must be told of it."""

    @property
    def application(self) -> "Application":
        """The Django application.

        Raises:
            Refused: the runbook names none, or it stands on another database than the step.
        """
        if self.application_parts is None:
            raise Refused("the runbook names no Django application", hint="Add django: with manage: and python:.")
        if self.own and "stands on" not in self.remembered:
            self.remembered["stands on"] = self._require_database(self.application_parts)
        return self.application_parts

    def _require_database(self, application: "Application") -> str:
        """A step that changes another database than it was given would be the worst of all."""
        from deployguard.databases.url import parse_url

        standing = next((d for d in self._asked(application).databases if d.alias == "default"), None)
        wanted = parse_url(self.database_url or "")
        if standing is None or not _is_same(standing, wanted, application.directory, self.project):
            raise Refused(
                f"the application stands on {standing.name if standing else 'no database'}, the step on {wanted.shown}",
                hint="Name the variable that it takes its database's URL from: database_in: under django:.",
            )
        return standing.name

    def discover(self) -> "Discovery":
        """The application's encrypted columns, as it said when it was last asked since a step may have changed it.

        Raises:
            Refused: as `application`, or it does not start.
        """
        found: Discovery | None = self.remembered.get("discovery")
        return found or self._asked(self.application)

    def _asked(self, application: "Application") -> "Discovery":
        from deployguard.rows.discover import discover

        if "discovery" not in self.remembered:
            found = discover(application)
            self.remembered["discovery"] = found if self.database_url is None else found.within(self._is_mine)
        known: Discovery = self.remembered["discovery"]
        return known

    def _is_mine(self, standing: "ApplicationDatabase") -> bool:
        from deployguard.databases.url import parse_url

        return _is_same(standing, parse_url(self.database_url or ""), self.directory, self.project)

    def connect(self, *, read_only: bool = False) -> "Database":
        """A new connection to the environment's database.

        Raises:
            Refused: there is none, or it cannot be opened.
        """
        from deployguard.databases import connect

        if self.database_url is None:
            raise Refused(
                f"the environment {self.environment} has no database", hint="Add database: to it in the runbook."
            )
        return connect(self.database_url, base=self.project, read_only=read_only)

    @cached_property
    def keyring(self) -> "Keyring":
        """The field-encryption keys, validated.

        Raises:
            Refused: one is missing or not a key.
        """
        from deployguard.keys.keyring import Keyring

        found = [self.secrets.get(name) for name in self.keys]
        if not found:
            raise Refused("the runbook names no encryption key", hint="Add one under secrets: and encryption: keys:.")
        return Keyring.from_secrets(found)


def _is_same(standing: "ApplicationDatabase", wanted: "DatabaseUrl", directory: Path, project: Path) -> bool:
    if wanted.product == "sqlite":
        return (directory / standing.name).resolve() == (project / wanted.database).resolve()
    ports = {standing.port, str(wanted.port or "")} - {""}
    hosts = {wanted.host, *wanted.options.values()}  # a socket's folder is an option: ?host=/run/postgresql
    return standing.name == wanted.database and standing.host.lower() in hosts and len(ports) <= 1


@dataclass(frozen=True)
class Answer:
    """What a person answered to a gate.

    Attributes:
        verdict: approve or reject.
        at: when, in UTC.
        current: whether it was given for the plan, the commit and the database of now.
    """

    verdict: str
    who: str
    why: str
    at: datetime
    current: bool


@dataclass(frozen=True)
class Context:
    """What one execution of a step is given.

    Attributes:
        run: id of the run, or "preflight".
        step: id of the step.
        fence: fencing token of the run's lease; 0 when the step may change nothing.
        began: when the run began, in seconds since 1970, by the wall clock.
        before: what `capture` recorded before the first attempt.
        folder: the run's own folder, private; None when nothing may be written.
        pulse: call it between units of work, outside any transaction. It shows progress
            and raises `Interrupted` or `LeaseLost`: it is the step's safe point.
        run_command: run argv with the step's environment; its output goes to the log,
            masked. It raises nothing for a failing command: look at the result.
        sample: put one observation of a watched condition on record: condition, ok, value,
            seconds elapsed, and as keywords cursor and missed.
        watched: what is on record of the watch from before a restart.
        sibling: another step of the run by its id, ready to be executed, and its environment.
        once: whether a watch is to look once and wait for the next visit.
        answers: what people answered to this step, a gate, in order.
        starter: who began the run.
        promoted: whether the run's change has succeeded in another environment, within so many seconds.
        ready: what the kind's `made_ready` gave, where it was asked for.
        measured: what a rehearsal took for steps of this run, by their ids: its kind (uses), seconds, growth in
            bytes, age in seconds of the oldest transaction seen (transaction, None where the product has none).
    """

    target: Target
    run: str
    step: str
    fence: int
    pulse: Pulse
    run_command: Callable[..., Result]
    began: float = 0.0
    before: JSON = field(default_factory=dict)
    folder: Path | None = None
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    sample: Callable[..., None] = lambda *_, **__: None
    watched: "Watched | None" = None
    once: bool = False
    sibling: Callable[[str], tuple["Step", Mapping[str, str | Secret]]] | None = None
    answers: tuple[Answer, ...] = ()
    starter: str = ""
    promoted: Callable[[str, float], "Outcome"] | None = None
    ready: Any = None
    measured: Mapping[str, JSON] = field(default_factory=dict)

    def command(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | Secret] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> Result:
        """Run a command to its end, in the working copy unless said otherwise.

        `on_output` gets all that it writes, masked, in pieces as they come.
        """
        more = {"on_output": on_output} if on_output else {}
        return self.run_command(list(argv), cwd=cwd or self.target.directory, env={**(env or {}), **self.env}, **more)

    def manage(self, *arguments: str) -> Result:
        """Run the application's manage.py with its own interpreter and environment."""
        application = self.target.application
        return self.command(application.manage_command(*arguments), env=application.env)

    def discover(self) -> "Discovery":
        """What `Target.discover` says."""
        return self.target.discover()


class Step(BaseModel):
    """A step kind. Subclass it, name it in `uses`, and list it in `steps.KINDS`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    uses: ClassVar[str]
    check: ClassVar[bool] = False
    """A check changes nothing: preflight runs it, dry run too."""
    idempotent: ClassVar[bool] = False
    """Executing twice is the same as once: an interrupted one is simply executed again."""
    keeps_code: ClassVar[bool] = False
    """Whether the application is the same after it; checks keep it anyway."""
    undone_by_restore: ClassVar[bool] = False
    """Whether its whole effect stands in the database, and goes when a backup is put back."""
    restores: ClassVar[bool] = False
    """Whether executing it puts a backup in the database's place."""
    needs_backup: ClassVar[bool] = False
    """Whether it begins only after a backup of its database was restored in the same run, unless its field
    `without_backup` says why not."""
    tidies: ClassVar[bool] = False
    """Whether `compensate` only removes what an execution that was killed has left; its effect stays."""
    outputs: ClassVar[tuple[str, ...]] = ()
    """Names that later steps may use as steps.ID.outputs.NAME."""
    pages: ClassVar[tuple[str, ...]] = ()
    """Keys, at any depth under `with:`, that name pages it asks: `tls.expiry` looks at those too."""
    example: ClassVar[str] = ""
    """YAML of a typical use, for the documentation."""

    def preview(self, context: Context) -> Preview:  # noqa: ARG002 - kinds that can tell more do
        """What `execute` would do. Changes nothing."""
        return Preview()

    def capture(self, context: Context) -> JSON:  # noqa: ARG002
        """What the undo will need, read before anything is changed. Changes nothing."""
        return {}

    def is_done(self, context: Context) -> bool | None:  # noqa: ARG002
        """Whether the effect is complete; None when that cannot be told. Changes nothing."""
        return None

    def execute(self, context: Context) -> Outcome:
        """Do the work.

        Raises:
            StepFailed: it could not be done.
        """
        raise NotImplementedError

    def compensate(self, context: Context) -> Outcome | None:  # noqa: ARG002
        """Undo the work, complete or half made; twice is the same as once. None: there is nothing to undo."""
        return None

    def obstacle(self, context: Context) -> str:  # noqa: ARG002
        """Why its undo could not be done now, in words; empty where nothing speaks against it. Changes nothing."""
        return ""

    def made_ready(self, context: Context) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Whatever can be done of it before anything is changed, for a person to look at and `execute` to use."""
        return nullcontext()

    def settle(self, context: Context) -> Outcome | None:  # noqa: ARG002
        """After every step is undone: undo once more what the outgoing code wrote meanwhile."""
        return None

    def backs_up(self) -> bool:
        """Whether it takes a backup of its database and restores it; its output `state` says `restored` then."""
        return False

    def repeatable(self) -> bool:
        """Whether an interrupted execution may simply be repeated."""
        return self.idempotent or self.check

    def reversible(self) -> bool:
        """Whether the kind knows how to undo itself."""
        return type(self).compensate is not Step.compensate and not self.tidies


class Check(Step):
    """A step that only looks."""

    check: ClassVar[bool] = True
    idempotent: ClassVar[bool] = True

    def preview(self, context: Context) -> Preview:
        """A check may be run for real at any time."""
        outcome = self.execute(context)
        return Preview(summary=f"{outcome.status}: {outcome.summary}", evidence=outcome.evidence)


def told(took: Mapping[str, Any]) -> str:
    """What a rehearsal measured of a step, in one line; as `Context.measured` has it."""
    more = f", {took['growth'] / 2**20:.1f} MiB more" if took["growth"] > 0 else ""
    open_ = took["transaction"]
    held = f", no transaction longer than {spell(open_)}" if open_ is not None else ""
    return f"{spell(took['seconds'])}{more}{held}"


def show(argv: Sequence[str]) -> str:
    """A command as one line that could be pasted into a shell."""
    import shlex

    return shlex.join(argv)


def compact(value: object) -> str:
    """A value in one line, for messages."""
    return json.dumps(value, ensure_ascii=False, default=str)
