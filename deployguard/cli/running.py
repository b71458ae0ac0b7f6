"""What deploy and rollback share: ask, hold the journal, watch, report, and say how it ended."""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from deployguard.cli.console import Console, Watcher, run_json
from deployguard.cli.plan import show_plan
from deployguard.cli.project import (
    open_journal,
    pick_run,
    plan_for,
    plan_from,
    plan_of_run,
    read_runbook,
    recorded_runbook,
    recorded_runs,
    refuse_another_project,
    reports_folder,
    some_environment,
    target_for,
)  # fmt: skip
from deployguard.engine.deploy import EXIT, UNFINISHED, Session, deploy, resume, undo
from deployguard.engine.identity import identity, moved, other_commit
from deployguard.engine.observe import Several
from deployguard.engine.plan import Plan, Selection
from deployguard.engine.stop import Stop
from deployguard.engine.target import addresses_of
from deployguard.engine.way_back import DECRYPT, Advice, advice
from deployguard.errors import (
    DeployguardError,
    EnvironmentHeld,
    Interrupted,
    LeaseLost,
    Refused,
    StepFailed,
    UsageError,
)
from deployguard.journal.base import Journal
from deployguard.journal.home import Home
from deployguard.journal.state import RunState, fold
from deployguard.report.build import build
from deployguard.report.render import write_reports
from deployguard.runbook.load import LoadedRunbook
from deployguard.steps.base import Target

if TYPE_CHECKING:
    from deployguard.backup.restore import Ready


def begin(
    console: Console,
    file: Path,
    env: str | None,
    settings: Sequence[str] | None,
    selection: Selection,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Start a run of the file's runbook, or say what it would do."""
    carry_out(console, read_runbook(file, begins=True), file, env, settings, selection, dry_run=dry_run, yes=yes)


def carry_out(
    console: Console,
    runbook: LoadedRunbook,
    file: Path,
    env: str | None,
    settings: Sequence[str] | None,
    selection: Selection,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Start a run of a runbook that need not be the file's own."""
    if env is None and len(runbook.spec.environments) != 1:
        raise UsageError("which environment?", hint=f"Add --env with one of: {', '.join(runbook.spec.environments)}.")
    plan = plan_for(runbook, env or next(iter(runbook.spec.environments)), settings, selection)
    if dry_run:
        show_plan(console, plan, target_for(file, plan, make=False), recorded_runs(file).values())
        return
    target = target_for(file, plan, make=True)
    ask_person(console, f"Deploy {runbook.spec.name} to {plan.environment} ({_where(target)})?", yes=yes)
    with _at_work(console, target.home) as (journal, stop):
        session = Session(plan, target, journal, Watcher(console), stop, ask=_asker(console))
        with _telling(session):
            _conclude(console, session, lambda: deploy(session))


def stand_aside(
    console: Console, runbook: LoadedRunbook, file: Path, env: str, ready: Mapping[str, object] | None = None
) -> RunState:
    """Carry out a runbook whose runs stand aside, and hand back how it ended.

    Raises:
        DeployguardError: what kept it from succeeding, as it was raised; the run is on record and reported.
    """
    plan = plan_for(runbook, env)
    target = target_for(file, plan, make=True)
    with _at_work(console, target.home) as (journal, stop):
        session = Session(plan, target, journal, Watcher(console), stop, ready=ready or {})
        state = deploy(session)
        paths = _report(console, session, state)
    if session.failure is not None:
        raise session.failure
    if state.state != "succeeded":
        raise Interrupted(state.reason, hint=f"Run 'deployguard deploy --resume --env {env}' to go on.")
    for path in paths:
        console.line(f"report       {path}")
    return state


def go_on(
    console: Console,
    file: Path,
    env: str | None,
    settings: Sequence[str] | None,
    decide: Sequence[str],
    *,
    why: str,
    accept: bool,
    once: bool = False,
) -> None:
    """Resume the environment's unfinished run; `once`: a monitor looks once and then waits again."""
    runs = recorded_runs(file)
    waiting = [r for r in runs.values() if r.state in UNFINISHED and env in {None, r.environment}]
    if not waiting:
        where = f" in {env}" if env else ""
        raise UsageError(
            f"there is no unfinished run{where}",
            hint="'deployguard runs' lists the runs; 'deployguard deploy' begins one.",
        )
    before = waiting[-1]
    if len({r.environment for r in waiting}) > 1:
        raise UsageError("several environments have an unfinished run", hint="Add --env.")
    plan = plan_of_run(file, before, settings, accept=accept)
    target = target_for(file, plan, make=True)
    if not accept:
        moved_whole = "If it was moved with all that is in it: 'deployguard deploy --resume --accept-plan'."
        _same_target(before, target, moved_whole)
        _same_commit(before, target)
    with _at_work(console, target.home) as (journal, stop):
        session = Session(
            plan,
            target,
            journal,
            Watcher(console),
            stop,
            decisions=_decisions(decide),
            why=why,
            once=once,
            ask=_asker(console),
        )
        with _even_unheard(console):
            console.line(f"resuming run {before.id} in {before.environment}")
        with _telling(session):
            _conclude(console, session, lambda: resume(session, before))


def back(
    console: Console,
    file: Path,
    named: str | None,
    env: str | None,
    *,
    to: str | None,
    via: str | None,
    yes: bool,
    confirm: Sequence[str] | None,
) -> None:
    """Roll a run back; by the way that is recommended where none is named."""
    runs = {i: r for i, r in recorded_runs(file).items() if r.state != "refused" and not r.aside}
    if named is None and env is None:
        env = some_environment(file, read_runbook(file), None)
    before = pick_run(runs, named, env)
    later = [r for r in runs.values() if r.environment == before.environment][-1]
    if later.id != before.id and later.state != "rolled_back":
        raise Refused(
            f"run {later.id} came after {before.id} in {before.environment}",
            hint=f"Roll back {later.id} first: what came last is undone first.",
        )
    refuse_another_project(file, before)
    # what ran is what is undone, whatever the file says by now: the new code may have brought a new runbook
    plan = plan_from(recorded_runbook(file, before), before)
    target = target_for(file, plan, make=True)
    _same_target(before, target)
    chosen = via or _recommended(console, before.id, advice(plan, target, before))
    if chosen == DECRYPT:
        ask_person(console, f"Roll back run {before.id} in {before.environment} ({_where(target)})?", yes=yes)

    def agreed(standing: "Ready") -> None:
        from deployguard.cli.agreement import agree

        agree(console, standing, yes=yes, confirm=confirm)

    with _at_work(console, target.home) as (journal, stop):
        session = Session(plan, target, journal, Watcher(console), stop, agree=agreed)
        with _telling(session):
            _conclude(console, session, lambda: undo(session, before, to=to, via=chosen), asked_to_undo=True)


def _recommended(console: Console, run: str, better: Advice) -> str:
    """Step by step, if that is what is recommended.

    Raises:
        Refused: it is not, and the other way loses rows: a person must choose it.
    """
    console.line(f"recommended: --via {better.via}, since {better.why}")
    if better.via != DECRYPT:
        raise Refused(
            f"run {run} cannot be undone without loss now: {better.why}",
            hint="Put the key back and try again; nothing is lost then. If it cannot be found: "
            f"'deployguard rollback {run} --via restore', which shows what it loses and asks.",
        )
    return DECRYPT


def _where(target: Target) -> str:
    found = identity(target)
    if found is None:
        return f"working copy {target.directory}"
    return f"{found.engine} {found.version}, database {found.database}, host {found.host}, server {found.server_id}"


def ask_person(console: Console, question: str, *, yes: bool) -> None:
    """Go on only with a yes.

    Raises:
        Refused: somebody said no, or nobody is there to ask.
    """
    if not console.confirm(question, yes=yes):
        raise Refused("nobody said yes", hint="Look at the target, then add --yes where there is no terminal to ask.")


def _asker(console: Console) -> object:
    if not (sys.stdin.isatty() and console.is_terminal):
        return None

    def ask(error: StepFailed) -> str:
        return "rollback" if console.confirm(f"{error.message}. Roll back now?", yes=False) else "stop"

    return ask


@contextmanager
def _at_work(console: Console, home: Home) -> Iterator[tuple[Journal, Stop]]:
    over = False

    def told(requests: int) -> None:
        if requests == 1 and not over:
            console.line("stopping at the next safe point; once more stops now (both can be resumed)")

    # signals are counted until the journal is closed: what is on record as done is not to end as interrupted
    with Stop(told) as stop, open_journal(home) as journal:
        try:
            yield journal, stop
        finally:
            over = True


_DECISION = re.compile(r"(?P<step>[^=]+)=(?P<decision>done|retry|skip)")


def _decisions(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        match = _DECISION.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--decide {text}: not STEP=done, STEP=retry or STEP=skip", hint="For example --decide copy=done."
            )
        found[match["step"]] = match["decision"]
    return found


def _same_commit(before: RunState, target: Target) -> None:
    """The code that a run has brought is the code that it goes on with."""
    if (head := other_commit(before, target)) is not None:
        raise Refused(
            f"run {before.id} has brought commit {before.started.commit}, but {target.directory} is at {head} now",
            hint="Check that commit out again, or go on with it: 'deployguard deploy --resume --accept-plan'.",
        )


def _same_target(before: RunState, target: Target, otherwise: str = "") -> None:
    for step, then, now in moved(before.started, target):
        whose = f"step {step}'s" if step else "the environment's"
        raise Refused(
            f"run {before.id} was made on {then.get('database')}, but {whose} database is {now.database} now",
            hint=f"Give the same database URL as before. {otherwise}".rstrip(),
        )


def _conclude(console: Console, session: Session, work: object, *, asked_to_undo: bool = False) -> NoReturn:
    """Do the work; whatever happens, the report is written and the end is said."""
    try:
        state: RunState = work()  # type: ignore[operator]
    except (EnvironmentHeld, LeaseLost):
        raise  # what is on record there now is another process's to report
    except DeployguardError:
        _report_latest(console, session)
        raise
    paths = _report(console, session, state)
    done = asked_to_undo and state.state == "rolled_back"
    with _even_unheard(console):
        if console.as_json:
            console.document(run_json(state, paths))
        _say_end(console, state, paths)
    raise typer.Exit(0 if done else EXIT[state.state])


@contextmanager
def _telling(session: Session) -> Iterator[None]:
    """Tell people elsewhere, where the runbook names some."""
    addresses = addresses_of(session.plan, session.target)
    if not addresses:
        yield
        return
    from deployguard.engine.notify import Notifier

    notifier = Notifier(addresses, name=session.plan.runbook.spec.name, environment=session.plan.environment)
    session.observer = Several(session.observer, notifier)
    try:
        yield
    finally:
        notifier.close(session.journal)


def _report_latest(console: Console, session: Session) -> None:
    runs = [r for r in fold(session.journal.records()).values() if r.environment == session.plan.environment]
    if runs and runs[-1].ended is not None:
        paths = _report(console, session, runs[-1])
        with _even_unheard(console):
            for path in paths:
                console.line(f"report       {path}")


@contextmanager
def _even_unheard(console: Console) -> Iterator[None]:
    """Whoever read our output may be gone; that is no reason to stop, or to end with another exit code."""
    try:
        yield
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, console.stream.fileno())
        os.close(null)


def _report(console: Console, session: Session, state: RunState) -> list[Path]:
    try:
        return render_reports(session.journal, session.plan, state)
    except OSError as error:
        # the run has ended, and its exit code says how; the report is made of the journal at any time
        with _even_unheard(console):
            later = f"'deployguard report {state.id}' writes it once that is mended"
            console.line(f"the report could not be written ({error.strerror}): {later}")
        return []


def render_reports(journal: Journal, plan: Plan, state: RunState) -> list[Path]:
    """Write a run's reports where its runbook wants them."""
    report = build(list(journal.records()), state.id)
    return write_reports(report, reports_folder(plan.runbook), plan.runbook.spec.report.formats)


def _say_end(console: Console, state: RunState, paths: Sequence[Path]) -> None:
    for path in paths:
        console.line(f"report       {path}")
    console.line(f"run {state.id}: {state.state.replace('_', ' ')}" + (f": {state.reason}" if state.reason else ""))
    follow = {
        "interrupted": f"deployguard deploy --resume --env {state.environment}",
        "waiting": f"deployguard deploy --resume --env {state.environment}",
        "failed": f"deployguard deploy --resume --env {state.environment}, or deployguard rollback {state.id}",
        "rollback_incomplete": f"deployguard rollback {state.id}, after doing what the report says",
    }.get(state.state)
    if follow:
        console.line(f"next         {follow}")
