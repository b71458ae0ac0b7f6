"""A run goes on as it began, or is refused with the difference: what a person accepts is on record and is what is undone."""

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from projects import Project, e, step

ROOT = Path(__file__).parents[2]
REFUSED, NOT_VALID = 3, 2
ACCEPT = "'deployguard deploy --resume --accept-plan'"
STEPS = (step("one"), step("two", "test -e mended", env={"SIZE": "${{ vars.size }}"}))
GIT = {
    **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{role}_{key}": "ann@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
}  # fmt: skip


@pytest.fixture
def project(tmp_path):
    """A run that stopped at its second step."""
    made = Project(tmp_path / "here")
    made.folder.mkdir()
    _database(made.folder / "people.db")
    write(made)
    return made


def write(project, *steps, environment=None, **keys):
    place = {"on_failure": "stop", "database": "${{ env.URL | default('sqlite:///people.db') }}", **(environment or {})}
    return project.write(*(steps or STEPS), environment=place, **{"vars": {"size": "small"}, **keys})


def _database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY)")


def git(*arguments, at):
    done = subprocess.run(["git", *arguments], cwd=at, env=GIT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def another_commit(folder):
    (folder / "code").write_text(os.urandom(8).hex())
    git("add", "code", at=folder)
    git("commit", "--quiet", "--message", "change", at=folder)
    return git("rev-parse", "HEAD", at=folder)


@dataclass(frozen=True)
class Case:
    """What has changed since the run stopped.

    Attributes:
        spoil: changes it; may return more arguments.
        accepts: whether a person may go on with it.
    """

    name: str
    spoil: Callable
    says: str
    hint: str
    exit_code: int = REFUSED
    arguments: tuple[str, ...] = ("deploy", "--resume", "--env", "staging")
    env: dict = field(default_factory=dict)
    accepts: bool = False


def rewritten(*steps, **keys):
    return lambda project: write(project, *steps, **keys)


def nothing(project):
    pass


def another_target(project):
    _database(project.folder / "other.db")


def from_another_project(project):
    other = Project(project.folder.parent / "there")
    other.folder.mkdir()
    write(other, name="another")
    other.deploy()
    shutil.rmtree(project.folder / ".deployguard")
    shutil.copytree(other.folder / ".deployguard", project.folder / ".deployguard")


CASES = [
    Case("a step's command", rewritten(STEPS[0], step("two", "true")), "the runbook has changed since run staging-", ACCEPT, accepts=True),
    Case("a step's command is told", rewritten(STEPS[0], {**STEPS[1], "timeout": "9s"}), "step two: timeout is new", ACCEPT, accepts=True),
    Case("a value", rewritten(vars={"size": "large"}), "vars: size was small, is large", ACCEPT, accepts=True),
    Case("a new step", rewritten(*STEPS, step("three")), "step three is new", ACCEPT, accepts=True),
    Case("a step that is gone", rewritten(STEPS[1]), "step one is gone", ACCEPT),
    Case("a step that is of another kind", rewritten({"id": "one", "uses": "git.clean"}, STEPS[1]), "step one: run is gone", ACCEPT),
    Case("the order", rewritten(*reversed(STEPS)), "the order of steps is another", ACCEPT, accepts=True),
    Case("many things", rewritten(*(step(f"s{n}") for n in range(9))), "and 5 more", ACCEPT),
    Case("a setting", nothing, "size is new", ACCEPT, arguments=("deploy", "--resume", "--set", "size=large"), accepts=True),
    Case("the database", another_target, "here/people.db, but the environment's database is ", ACCEPT, env={"URL": "sqlite:///other.db"}, accepts=True),
    Case("the database, on the way back", another_target, "people.db, but the environment's database is ", "Give the same database URL as before.", arguments=("rollback", "--yes"), env={"URL": "sqlite:///other.db"}),
    Case("the project", from_another_project, "is of the runbook another, and ", "Name its own file with -f, stand in its project's folder"),
    Case("the project, accepted or not", from_another_project, "is of the runbook another, and ", "Name its own file with -f", arguments=("deploy", "--resume", "--accept-plan")),
    Case("the project, on the way back", from_another_project, "is of the runbook another, and ", "Name its own file with -f", arguments=("rollback", "--yes")),
    Case("a decision on no step", nothing, "--decide nowhere: the run has no such step", "Steps: one, two.", NOT_VALID, ("deploy", "--resume", "--decide", "nowhere=done")),
    Case("a decision on what needs none", nothing, "--decide one: the step is succeeded, there is nothing to decide", "'deployguard show' says which", NOT_VALID, ("deploy", "--resume", "--decide", "one=done")),
    Case("a decision that is none", nothing, "--decide two=maybe: not STEP=done, STEP=retry or STEP=skip", "For example --decide copy=done.", NOT_VALID, ("deploy", "--resume", "--decide", "two=maybe")),
    Case("an environment without a run", nothing, "there is no unfinished run in elsewhere", "'deployguard runs' lists the runs", NOT_VALID, ("deploy", "--resume", "--env", "elsewhere")),
]  # fmt: skip


def said(project, case, *more):
    """What the real program says."""
    return subprocess.run(
        [sys.executable, "-m", "deployguard", *case.arguments, *more], cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **case.env}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_with_the_difference_and_nothing_is_done(project, case):
    project.deploy()
    case.spoil(project)
    before = project.trace(), len(project.records())

    done = said(project, case)

    assert done.returncode == case.exit_code, done.stdout + done.stderr
    assert case.says in done.stderr
    assert case.hint in " ".join(re.findall(r"hint: (.*)", done.stderr))
    assert "Traceback" not in done.stderr
    assert (project.trace(), len(project.records())) == before


@pytest.mark.parametrize("case", [c for c in CASES if c.accepts], ids=lambda case: case.name)
def test_what_a_person_accepts_is_on_record_and_goes_on(project, case):
    project.deploy()
    case.spoil(project)
    (project.folder / "mended").touch()

    done = said(project, case, "--accept-plan")

    assert done.returncode == 0, done.stdout + done.stderr
    [resumed] = project.recorded(e.RunResumed)
    assert resumed.accepted["plan"]["before"] == project.recorded(e.RunStarted)[0].plan_digest
    assert project.trace().count("one") == 1
    assert "resumed with another plan than was begun" in next((project.folder / "reports").glob("*.md")).read_text()


def test_what_was_accepted_needs_no_second_acceptance_and_is_what_is_undone(project):
    project.deploy()
    write(project, *STEPS, step("three", "test -e mended"))
    (project.folder / "mended").touch()
    (project.folder / "mended").unlink()
    said(project, CASES[3], "--accept-plan")
    (project.folder / "mended").touch()

    done = said(project, CASES[3])

    assert done.returncode == 0, done.stdout + done.stderr
    assert project.trace() == ["one", "two", "two", "two", "three"]
    assert project.rollback().state == "rolled_back"
    assert project.trace()[-3:] == ["undo three", "undo two", "undo one"]


@pytest.mark.parametrize("case", [c for c in CASES if c.name in {"a step that is gone", "a step that is of another kind"}], ids=lambda c: c.name)  # fmt: skip
def test_a_plan_without_a_step_that_was_begun_is_not_accepted_either(project, case):
    project.deploy()
    case.spoil(project)

    done = said(project, case, "--accept-plan")

    assert done.returncode == REFUSED
    assert "step one (run) was begun, and " in done.stderr
    assert "Put it back as it was" in done.stderr
    assert project.recorded(e.RunResumed) == []


@pytest.fixture
def deployed(project):
    """A run that has brought a commit, and then stopped; the commit that is the next."""
    folder = project.folder
    git("init", "--quiet", "--initial-branch=main", at=folder)
    (folder / ".gitignore").write_text("*\n!code\n")
    first = another_commit(folder)
    git("clone", "--quiet", "--bare", ".", "../origin.git", at=folder)
    git("remote", "add", "origin", "../origin.git", at=folder)
    second = another_commit(folder)
    git("push", "--quiet", "origin", "main", at=folder)
    git("reset", "--quiet", "--hard", first, at=folder)
    write(project, {"id": "code", "uses": "git.update"}, *STEPS, code={"remote": "origin", "branch": "main"})
    case = Case("", nothing, "", "", arguments=("deploy", "--env", "staging", "--yes"))
    assert said(project, case).returncode == 5
    return first, second


def test_another_commit_than_was_asked_for_is_refused_with_both(project, deployed):
    first, second = deployed
    case = Case("", nothing, "", "", arguments=("deploy", "--resume", "--set", f"commit={first}"))

    done = said(project, case)

    assert done.returncode == REFUSED
    assert f"commit {second} before, {first} now" in done.stderr


def test_another_commit_than_the_run_has_brought_is_refused_with_both_or_accepted_on_record(project, deployed):
    first, second = deployed
    git("reset", "--quiet", "--hard", first, at=project.folder)
    (project.folder / "mended").touch()
    resume = Case("", nothing, "", "", arguments=("deploy", "--resume"))

    done = said(project, resume)

    assert done.returncode == REFUSED
    assert f"has brought commit {second}, but {project.folder} is at {first} now" in done.stderr
    assert ACCEPT in done.stderr

    assert said(project, resume, "--accept-plan").returncode == 0
    assert project.recorded(e.RunResumed)[-1].accepted == {"code": {"before": second, "now": first}}
    report = next((project.folder / "reports").glob("*.md")).read_text()
    assert "resumed with another commit than the run had brought" in report


# -- a file system without locks

NO_FLOCK = """
import errno, fcntl, os
def flock(fd, how):
    raise OSError({number}, os.strerror({number}))
fcntl.flock = flock
"""
NO_SQLITE_LOCKS = """
import ctypes, sys
sys.path.insert(0, {faults!r})
import faulty
LOCK = ctypes.CFUNCTYPE(faulty.I, faulty.P, faulty.I)
refuse = LOCK(lambda file, how: 3850 if how > 0 else 0)  # SQLITE_IOERR_LOCK
class Lockless(faulty.Installed):
    def _opened(self, *given):
        code = super()._opened(*given)
        methods = ctypes.cast(given[2], ctypes.POINTER(ctypes.POINTER(faulty.Methods)))
        if code == 0 and methods[0]:
            methods[0].contents.rest[1] = ctypes.cast(refuse, faulty.P).value
        return code
Lockless(faulty.Disk())
"""


@pytest.mark.parametrize(
    "customized",
    [NO_FLOCK.format(number=n) for n in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)]
    + [NO_SQLITE_LOCKS.format(faults=str(ROOT / "tests/faults"))],
    ids=["ENOLCK", "EOPNOTSUPP", "ENOSYS", "the journal's"],
)
def test_a_file_system_without_locks_is_refused_by_name(project, customized):
    (project.folder / "custom").mkdir()
    (project.folder / "custom/sitecustomize.py").write_text(customized)
    path = f"{project.folder / 'custom'}:{ROOT}"
    case = Case("", nothing, "", "", arguments=("deploy", "--env", "staging", "--yes"), env={"PYTHONPATH": path})

    done = said(project, case)

    assert done.returncode == REFUSED, done.stdout + done.stderr
    assert re.search(r"here/\.deployguard\S* is on a file system without locks", done.stderr)
    assert "hint: Set DEPLOYGUARD_HOME to a folder on a local file system." in done.stderr
    assert project.trace() == []
