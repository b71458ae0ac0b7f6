"""Ending a run that is not done, without going on with it and without undoing it."""

import os
from datetime import datetime

from deployguard.engine.deploy import UNFINISHED, end_leftovers
from deployguard.errors import UsageError
from deployguard.journal import events as e
from deployguard.journal.base import Journal
from deployguard.journal.home import Home
from deployguard.journal.lock import EnvironmentLock, about_me
from deployguard.journal.state import RunState, fold


def require_unfinished(run: RunState) -> None:
    """Refuse to end what has ended.

    Raises:
        UsageError: it has ended already.
    """
    if run.state not in UNFINISHED:
        raise UsageError(
            f"run {run.id} has ended already: {run.state.replace('_', ' ')}", hint="'deployguard runs' lists them all."
        )


def abort(journal: Journal, home: Home, run: str, *, actor: str, why: str, now: datetime) -> RunState:
    """Put on record that a run has ended where it stands. What it has done stays in place.

    Neither the runbook nor what it needs of the environment is asked for: a run whose
    secrets or databases are out of reach can be ended too.

    Raises:
        EnvironmentHeld: a process carries the run on now.
        UsageError: it has ended already.
    """
    environment = fold(journal.records())[run].environment
    with EnvironmentLock(home.locks, environment, about=about_me(run, now)):
        state = fold(journal.records())[run]
        require_unfinished(state)
        fence = journal.take_lease(run, environment, at_least=1)  # whoever still holds an older one writes nothing more
        for event in end_leftovers(journal.records(run), state, os.uname().nodename):
            journal.append(run, event, fence=fence)
        journal.append(
            run, e.RunFinished(state="aborted", reason=f"ended by {actor}" + f": {why}" * bool(why)), fence=fence
        )
        journal.append(run, e.LeaseReleased(environment=environment, fence=fence), fence=fence)
    return fold(journal.records())[run]
