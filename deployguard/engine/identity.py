"""Which databases and which commit a run is about: asked of them, and compared with what is on record."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from deployguard.databases.base import Database, Identity
from deployguard.errors import DeployguardError
from deployguard.steps.base import Target
from deployguard.working_copy import WorkingCopy

if TYPE_CHECKING:
    from deployguard.journal.events import RunStarted
    from deployguard.journal.state import RunState

Answer = TypeVar("Answer")


def identity(target: Target) -> Identity | None:
    """Which database this is, asked of the database itself; None where there is none to ask."""
    return _asked(target, lambda database: database.identity())


def own_identities(target: Target) -> dict[str, Identity | None]:
    """Which databases the steps have that have their own, by the step's id; None where none answers."""
    return {step: identity(replace(target, database_url=url)) for step, url in target.databases.items()}


def moved(then: "RunStarted", target: Target) -> list[tuple[str, Any, Identity]]:
    """Databases that are others than a run began with: whose (a step's id, "" for the environment's), then, now.

    One that was restored answers to the same name on the same server, under another number of its own;
    one that does not answer is not said to have moved.
    """
    before = {"": then.target, **{s["id"]: s.get("target") for s in then.steps}}
    now = {"": identity(target), **own_identities(target)}
    both = [(whose, was, now.get(whose)) for whose, was in before.items()]
    return [(whose, was, is_) for whose, was, is_ in both if was and is_ and _place(was) != _place(vars(is_))]


def _place(identity_: Mapping[str, object]) -> tuple[object, object, str]:
    server = str(identity_.get("server_id")).partition("/")[0]
    return identity_.get("engine"), identity_.get("database"), server


def other_commit(before: "RunState", target: Target) -> str | None:
    """The commit that is checked out where it is not the one that the run has brought."""
    brought = any(s.uses == "git.update" and s.state == "succeeded" for s in before.steps.values())
    if before.started.commit is None or before.rolling_back is not None or not brought:
        return None
    head = WorkingCopy(target.directory).head()
    return head if head != before.started.commit else None


def _asked(target: Target, question: Callable[[Database], Answer]) -> Answer | None:
    if target.database_url is None:
        return None
    try:
        database = target.connect(read_only=True)
    except DeployguardError:
        return None
    try:
        return question(database)
    finally:
        database.close()


def seen_by(target: Target) -> int:
    """The newest fence of all databases: one may have served another journal."""
    places = [target, *(replace(target, database_url=url) for url in target.databases.values())]
    return max(_asked(place, lambda database: database.fence()) or 0 for place in places)
