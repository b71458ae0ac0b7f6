"""What most commands begin with: the runbook, deployguard's folder, the plan for an environment."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deployguard.clock import SystemClock
from deployguard.engine.plan import Plan, Selection, known_names, make_plan
from deployguard.engine.target import directory_of, make_target
from deployguard.errors import Refused, UsageError
from deployguard.journal.home import NAME, Home, check_home, open_home
from deployguard.runbook.difference import difference
from deployguard.runbook.expressions import Variables, render
from deployguard.runbook.load import LoadedRunbook, load_runbook, runbook_from
from deployguard.secret import Secret
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds
from deployguard.steps.base import Target
from deployguard.working_copy import WorkingCopy

if TYPE_CHECKING:  # where nothing has been run yet there is no journal to read
    from deployguard.journal.sqlite import SqliteJournal
    from deployguard.journal.state import RunState


def read_runbook(file: Path) -> LoadedRunbook:
    """The runbook with every step kind and secret source that is installed."""
    return load_runbook(file, all_kinds(), SOURCES)


def home_path(file: Path) -> Path:
    """Where deployguard keeps its journal: beside the runbook, or where DEPLOYGUARD_HOME says."""
    named = os.environ.get("DEPLOYGUARD_HOME")
    return Path(named) if named else file.resolve().parent / NAME


@contextmanager
def open_journal(home: Home) -> "Iterator[SqliteJournal]":
    """The project's journal; DEPLOYGUARD_JOURNAL_KEY makes its chain an HMAC."""
    from deployguard.journal.sqlite import SqliteJournal

    key = os.environ.get("DEPLOYGUARD_JOURNAL_KEY")
    journal = SqliteJournal(home.journal, key=Secret(key, name="DEPLOYGUARD_JOURNAL_KEY") if key else None)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def existing_journal(file: Path) -> "Iterator[tuple[Home, SqliteJournal]]":
    """The journal of a project that has one.

    Raises:
        Refused: nothing has been run here yet.
    """
    path = home_path(file)
    check_home(path)
    if not (path / "journal.db").exists():
        raise Refused(
            f"there is no journal in {path}",
            hint="Runs are recorded by 'deployguard deploy'. Stand in the runbook's folder, or set DEPLOYGUARD_HOME.",
        )
    home = open_home(path)
    with open_journal(home) as journal:
        yield home, journal


def recorded_runs(file: Path) -> "dict[str, RunState]":
    """All runs on record; none where there is no journal. Changes nothing."""
    path = home_path(file)
    check_home(path)
    if not (path / "journal.db").exists():
        return {}
    from deployguard.journal.state import fold

    with existing_journal(file) as (_, journal):
        return fold(journal.records())


def plan_for(
    runbook: LoadedRunbook, environment: str, settings: Sequence[str] | None = None, selection: Selection | None = None
) -> Plan:
    """The plan for an environment, with the commit that its remote names now."""
    pairs = _pairs(settings or ())
    wanted = pairs.pop("commit", None)
    commit = _commit(runbook, environment, pairs, wanted)
    return make_plan(
        runbook, environment, all_kinds(), env=os.environ, settings=pairs, commit=commit, selection=selection
    )


def _commit(runbook: LoadedRunbook, environment: str, settings: dict[str, str], wanted: str | None) -> str | None:
    code = runbook.spec.code
    if code is None:
        if wanted is not None:
            raise UsageError("--set commit: the runbook has no code:", hint="Add code: with remote: and branch:.")
        return None
    names = known_names(runbook, environment, env=os.environ, settings=settings, commit=None)
    directory = directory_of(runbook, environment, names)
    return WorkingCopy(directory).resolve(code.remote, code.branch, wanted)


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not name:
            raise UsageError(f"--set {setting}: not NAME=VALUE", hint="For example --set watch=5s.")
        pairs[name] = value
    return pairs


def plan_of_run(file: Path, run: "RunState", settings: Sequence[str] | None, *, accept: bool) -> Plan:
    """The plan that a run on record was made from, so that what was approved is what goes on.

    Raises:
        Refused: the runbook or the target has changed since, unless `accept`.
    """
    recorded = recorded_runbook(file, run)
    now = read_runbook(file) if file.exists() and not recorded.derived else recorded
    refuse_another_project(file, run)
    if now.digest != recorded.digest and not accept:
        raise Refused(
            f"the runbook has changed since run {run.id} began: {difference(recorded.data, now.data)}",
            hint="Put it back, or go on with the new one: 'deployguard deploy --resume --accept-plan'.",
        )
    plan = plan_from(now if accept else recorded, run, settings or ())
    if plan.digest != run.started.plan_digest and not accept:
        raise Refused(
            f"the plan of run {run.id} is no longer what it was: {_plan_difference(run, plan)}",
            hint="Give the same settings and variables as before, or go on with the new plan: "
            "'deployguard deploy --resume --accept-plan'.",
        )
    return plan


def recorded_runbook(file: Path, run: "RunState") -> LoadedRunbook:
    """The runbook that a run was made from, as it was then, standing where it stood."""
    return replace(runbook_from(run.started.definition, all_kinds(), SOURCES), file=file.resolve())


def plan_from(runbook: LoadedRunbook, run: "RunState", settings: Sequence[str] = ()) -> Plan:
    """The plan of a run on record, by this runbook: its environment, settings, selection and commit."""
    before = {k: v for k, v in run.started.settings.items() if k != "selection"}
    pairs = {**before, **_pairs(settings)}
    commit = pairs.pop("commit", None) or run.started.commit
    return make_plan(
        runbook, run.environment, all_kinds(), env=os.environ, settings=pairs, commit=commit,
        selection=Selection.from_json(run.started.settings.get("selection", {})),
    )  # fmt: skip


def _plan_difference(run: "RunState", plan: Plan) -> str:
    if plan.commit != run.started.commit:
        return f"commit {run.started.commit} before, {plan.commit} now"
    steps = [[s["id"] for s in run.started.steps], [s.id for s in plan.steps]]
    if steps[0] != steps[1]:
        return difference(*({"steps": [{"id": step} for step in each]} for each in steps))
    before = {k: v for k, v in run.started.settings.items() if k != "selection"}
    return difference(before, plan.settings) or "the values of environment variables differ"


def refuse_another_project(file: Path, run: "RunState") -> None:
    """Refuse a run that another runbook began: in another project's folder its steps would work on the wrong things.

    Raises:
        Refused: names both.
    """
    if not file.exists() or run.started.definition.get("derived"):
        return
    here = read_runbook(file).spec.name
    if here != run.started.name:
        raise Refused(
            f"run {run.id} is of the runbook {run.started.name}, and {file} is {here}",
            hint="Name its own file with -f, stand in its project's folder, or set DEPLOYGUARD_HOME to this one's.",
        )


def some_environment(file: Path, runbook: LoadedRunbook, named: str | None) -> str:
    """The environment a reading command means when none is named.

    Raises:
        UsageError: there are several and nothing tells which.
    """
    known = runbook.spec.environments
    if named is not None or len(known) == 1:
        return named or next(iter(known))
    runs = list(recorded_runs(file).values())
    if runs and runs[-1].environment in known:
        return runs[-1].environment
    raise UsageError("which environment?", hint=f"Add --env with one of: {', '.join(known)}.")


def pick_run(runs: "dict[str, RunState]", named: str | None, environment: str | None = None) -> "RunState":
    """The run that was named, or the latest one of the environment.

    Raises:
        UsageError: there is no such run.
    """
    if named is not None:
        matching = [r for i, r in runs.items() if i == named or i.startswith(named)]
        if len(matching) != 1:
            what = "several runs begin" if matching else "no run begins"
            raise UsageError(f"{what} with {named!r}", hint="'deployguard runs' lists them.")
        return matching[0]
    found = [r for r in runs.values() if environment in {None, r.environment} and not r.aside]
    if not found:
        raise UsageError(
            "there is no run on record" + (f" in {environment}" if environment else ""),
            hint="Run 'deployguard deploy' first.",
        )
    return found[-1]


def target_for(file: Path, plan: Plan, *, make: bool) -> Target:
    """The environment within reach; `make` creates deployguard's folder if it is not there."""
    path = home_path(file)
    if not make:
        check_home(path)
    home = open_home(path) if make else Home(path)
    return make_target(plan, home, SystemClock())


def reports_folder(runbook: LoadedRunbook) -> Path:
    """Where the runbook wants its reports."""
    return runbook.file.resolve().parent / str(
        render(runbook.spec.report.to, {"env": Variables(os.environ), "vars": runbook.spec.vars})
    )
