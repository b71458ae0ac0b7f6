"""Plan → Target: the environment with its secrets, application and database within reach."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployguard.clock import Clock
from deployguard.engine.plan import Plan, PlannedStep, known_names
from deployguard.errors import Refused, RunbookError, UsageError
from deployguard.journal.home import Home
from deployguard.masking import Masker
from deployguard.runbook.expressions import ExpressionError, render, render_environment
from deployguard.runbook.load import LoadedRunbook
from deployguard.secret import Secret
from deployguard.secret_sources import SOURCES
from deployguard.steps.base import Secrets, Target

if TYPE_CHECKING:
    from deployguard.rows.application import Application

Variables = dict[str, str | Secret]


def make_target(plan: Plan, home: Home, clock: Clock) -> Target:
    """Everything that steps need to know of the environment.

    Secrets that can be fetched are fetched now, so that every output is masked from
    the first byte; one that cannot be is reported by the step that needs it.

    Raises:
        RunbookError: an expression in the environment's entry has no value.
    """
    spec = plan.runbook.spec
    project = plan.runbook.file.resolve().parent
    directory = directory_of(plan.runbook, plan.environment, plan.names)
    secrets = _secrets(plan.runbook, plan.environment, plan.names, project)
    known = _fetched(secrets)
    masker = Masker([s for s in known.values() if s.reveal()])
    return Target(
        environment=plan.environment,
        directory=directory,
        project=project,
        home=home,
        secrets=secrets,
        masker=masker,
        clock=clock,
        database_url=_url(plan, known, plan.target.database, "database"),
        replicas=tuple(
            url for text in plan.target.replicas if (url := _url(plan, known, text, "replicas")) is not None
        ),
        keys=tuple(name for name in spec.encryption.keys if name in spec.secrets),
        commit=plan.commit,
        remote=spec.code.remote if spec.code else "origin",
        branch=spec.code.branch if spec.code else "main",
        application_parts=_application(plan, directory, known),
        elsewhere=_elsewhere(plan, project),
        pages=_pages(plan),
        databases=_own_databases(plan, secrets),
    )


def variables_of(plan: Plan, target: Target, planned: PlannedStep, names: Mapping[str, Any]) -> Variables:
    """What a step's processes and the application get beside the usual: its `env:`, and its own database's URL."""
    own = target.databases.get(planned.id)
    told = {plan.database_in: own} if plan.database_in and own is not None else {}
    return {**told, **rendered_environment(planned.spec.env, names, Fetching(target.secrets))}


def target_of(target: Target, planned: PlannedStep, env: Mapping[str, str | Secret]) -> Target:
    """The environment as one step sees it: with the database and the variables that it has for itself."""
    own = target.databases.get(planned.id)
    if own is None and not env:
        return target
    application = target.application_parts
    if application is not None:
        application = replace(application, env={**application.env, **env})
    if own is not None:  # the environment's replicas copy another database
        target = replace(target, database_url=own, replicas=(), own=True)
    return replace(target, application_parts=application, remembered={})


def addresses_of(plan: Plan, target: Target) -> list[Secret]:
    """Whom to tell, as secrets: such addresses hold tokens.

    Raises:
        RunbookError: an expression has no value.
    """
    found: list[Secret] = []
    for number, text in enumerate(plan.runbook.spec.notify):
        try:
            address = render_environment(text, plan.names, Fetching(target.secrets))
        except ExpressionError as error:
            raise RunbookError([plan.runbook.document.problem(str(error), ("notify", number))]) from None
        if address:
            found.append(address if isinstance(address, Secret) else Secret(address, name=f"notify {number + 1}"))
    return found


def directory_of(runbook: LoadedRunbook, environment: str, names: Mapping[str, Any]) -> Path:
    """The environment's working copy.

    Raises:
        RunbookError: its expression has no value.
    """
    try:
        text = str(render(runbook.spec.environments[environment].directory, names))
    except ExpressionError as error:
        path = ("environments", environment, "directory")
        hint = "Set the environment variable that names the working copy."
        raise RunbookError([runbook.document.problem(str(error), path, hint)]) from None
    return (runbook.file.resolve().parent / text).resolve()


def working_folder(directory: Path, cwd: str | None, names: Mapping[str, Any]) -> Path:
    """Where a step's commands run: its `cwd:`, from the environment's working copy.

    Raises:
        UsageError: its expression has no value.
    """
    try:
        return directory if cwd is None else directory / str(render(cwd, names))
    except ExpressionError as error:
        raise UsageError(f"cwd: {error}", hint="Correct cwd: in the runbook.") from None


def _rendered(plan: Plan, value: str, key: str) -> Any:  # noqa: ANN401
    try:
        return render(value, plan.names)
    except ExpressionError as error:
        raise RunbookError(
            [plan.runbook.document.problem(str(error), ("environments", plan.environment, key))]
        ) from None


def _secrets(runbook: LoadedRunbook, environment: str, names: Mapping[str, Any], project: Path) -> Secrets:
    declared = {**runbook.spec.secrets, **runbook.spec.environments[environment].secrets}
    fetchers: dict[str, Callable[[], Secret]] = {}
    places: dict[str, str] = {}
    for name, where in declared.items():
        source = SOURCES[where.source].model_validate(render(where.model_extra or {}, names))
        fetchers[name] = partial(source.fetch, name, base=project)
        places[name] = source.describe()
    return Secrets(fetchers, places)


def _elsewhere(plan: Plan, project: Path) -> dict[str, Secrets]:
    """The other environments' secrets; where one is kept may depend on what is known only there."""
    found: dict[str, Secrets] = {}
    for name, environment in plan.runbook.spec.environments.items():
        if name == plan.environment:
            continue
        try:
            names = known_names(plan.runbook, name, env=plan.names["env"], settings={}, commit=plan.commit)
        except RunbookError:  # most places depend on no var
            names = {**plan.names, "environment": {"name": name}, "vars": {}}
        try:
            found[name] = _secrets(plan.runbook, name, names, project)
        except ExpressionError as error:
            declared = {**plan.runbook.spec.secrets, **environment.secrets}
            found[name] = Secrets({secret: partial(_untold, secret, name, str(error)) for secret in declared}, {})
    return found


def _untold(secret: str, environment: str, why: str) -> Secret:
    raise Refused(
        f"where {environment} keeps the secret {secret} is not known here: {why}",
        hint=f"Set here what the runbook names of {environment}.",
    )


def _fetched(secrets: Secrets) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    for name in secrets.names():
        try:
            found[name] = secrets.get(name)
        except Refused:
            continue
    return found


def _url(plan: Plan, known: Mapping[str, Secret], url: str | None, key: str) -> str | Secret | None:
    if url is None:
        return None
    try:
        return render_environment(url, plan.names, known)
    except ExpressionError as error:
        path = ("environments", plan.environment, key)
        hint = "Set the variable that holds the database's URL."
        raise RunbookError([plan.runbook.document.problem(str(error), path, hint)]) from None


def _pages(plan: Plan) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for planned in (*plan.checks, *plan.steps):
        with suppress(ExpressionError):  # the step itself will say so
            found |= dict.fromkeys(planned.pages(plan.names))
    return tuple(found)


def _own_databases(plan: Plan, secrets: Secrets) -> dict[str, str | Secret]:
    found: dict[str, str | Secret] = {}
    for planned in (*plan.checks, *plan.steps):
        if planned.spec.database is None:
            continue
        try:
            found[planned.id] = render_environment(
                planned.spec.database, {**plan.names, "matrix": planned.matrix}, Fetching(secrets)
            )
        except ExpressionError as error:
            message = f"step {planned.id}: database: {error}"
            raise RunbookError([plan.runbook.document.problem(message, (*planned.path, "database"))]) from None
    return found


def database_of(target: Target, planned: PlannedStep) -> str | None:
    """URL of the database that a step works on: for comparing, never for showing."""
    url = target.databases.get(planned.id, target.database_url)
    return url.reveal() if isinstance(url, Secret) else url


class Fetching(Mapping[str, Secret]):
    """The secrets, each fetched when an expression asks for it: a step sees those it names, and no others."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __getitem__(self, name: str) -> Secret:
        if name not in self._secrets.fetchers:
            raise KeyError(name)
        return self._secrets.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets.fetchers)

    def __len__(self) -> int:
        return len(self._secrets.fetchers)


def _application(plan: Plan, directory: Path, known: Mapping[str, Secret]) -> "Application | None":
    django = plan.runbook.spec.django
    if django is None:
        return None
    from deployguard.rows.application import Application

    return Application(
        python=directory / str(_rendered(plan, django.python, "python")),
        manage=directory / str(_rendered(plan, django.manage, "manage")),
        directory=directory,
        env=rendered_environment(django.env, plan.names, known),
    )


def rendered_environment(env: Mapping[str, str], names: Mapping[str, Any], known: Mapping[str, Secret]) -> Variables:
    """Variables for a process; those that need a secret that is not there are left out.

    The application then says itself, through the check that runs it, what it lacks.
    """
    rendered: Variables = {}
    for name, value in env.items():
        try:
            rendered[name] = render_environment(value, names, known)
        except (ExpressionError, KeyError):
            continue
    return rendered
