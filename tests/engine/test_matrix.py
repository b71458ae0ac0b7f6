"""A matrix: one step for each item, some at the same time, each with its own intent, end, resumption and undo."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from projects import Project, e, states

from deployguard.engine.observe import Nobody
from deployguard.errors import LeaseLost, NeedsPerson, StepFailed, UsageError, Waiting
from deployguard.steps import KINDS, all_kinds
from deployguard.steps.base import Outcome, Progress, Step

ROOT = Path(__file__).parents[2]
UNDER_WAY = "while [ ! -e {0} ]; do sleep 0.01; done"
AT_WORK = "until grep -q +{0} trace; do sleep 0.01; done"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def matrix(command="true", items=("a", "b", "c"), name="work", at_once=1, **keys):
    """A step that writes `+ITEM` and `-ITEM` to the trace around its command, which sees the item as $ITEM."""
    text = f'echo "+$ITEM" >> trace; {command}; echo "-$ITEM" >> trace'
    return {
        "id": name, "matrix": {"item": list(items)}, "max_parallel": at_once, "env": {"ITEM": "${{ matrix.item }}"},
        "run": ["/bin/sh", "-eu", "-c", text],
        "rollback": {"run": ["/bin/sh", "-c", 'echo "undo $ITEM" >> trace']}, **keys,
    }  # fmt: skip


def most_at_once(trace):
    now = [sum(1 if line[0] == "+" else -1 for line in trace[: index + 1]) for index in range(len(trace))]
    return max(now)


def test_each_item_is_a_step_like_any_other(project):
    run = project.write(matrix()).deploy()

    assert run.state == "succeeded"
    assert states(run) == dict.fromkeys(["work[a]", "work[b]", "work[c]"], "succeeded")
    assert project.trace() == ["+a", "-a", "+b", "-b", "+c", "-c"]
    assert [(s.step, s.attempt) for s in project.recorded(e.StepStarted)] == [(f"work[{i}]", 1) for i in "abc"]


def test_scripts_see_items_as_ordinary_entries(project):
    project.write(matrix(items=("a", "b")))

    plan = project.command("plan", "--env", "staging", "--json")
    project.deploy()

    assert '"id": "work[a]"' in plan.stdout
    assert [(s["id"], s["uses"], s["state"]) for s in project.shown()["steps"]] == [
        ("work[a]", "run", "succeeded"),
        ("work[b]", "run", "succeeded"),
    ]


def test_no_more_than_were_allowed_are_at_work_at_the_same_time(project):
    # the first two wait for each other, so they must be at work together; the rest must not join them
    meet = 'touch "here-$ITEM"; case $ITEM in a) other=b;; b) other=a;; *) other=a;; esac; ' + UNDER_WAY.format(
        '"here-$other"'
    )
    run = project.write(matrix(meet, items="abcdef", at_once=2)).deploy()

    assert run.state == "succeeded"
    assert most_at_once(project.trace()) == 2


def test_many_items_at_once_leave_a_journal_that_reads_like_any_other(project):
    items = [f"t{n}" for n in range(60)]

    run = project.write(matrix(items=items, at_once=8)).deploy()

    assert Counter(states(run).values()) == {"succeeded": 60}
    begun, ended = ([r.step for r in project.recorded(kind)] for kind in (e.StepStarted, e.StepFinished))
    assert sorted(begun) == sorted(ended) == sorted(f"work[{item}]" for item in items)
    for step in begun:
        kinds = [type(r.event).__name__ for r in project.records() if getattr(r.event, "step", None) == step]
        assert kinds == ["StepStarted", "ProcessStarted", "StepFinished"]


def test_an_item_sees_what_the_same_item_gave_before(project):
    project.write(
        matrix('echo "path=/data/$ITEM" >> "$DEPLOYGUARD_OUTPUT"', name="copy", outputs=["path"], at_once=3),
        matrix('test "$FROM" = "/data/$ITEM"', env={"ITEM": "${{ matrix.item }}", "FROM": "${{ steps.copy.outputs.path }}"}),
    )  # fmt: skip

    assert project.deploy().state == "succeeded"


def test_a_condition_decides_for_each_item(project):
    run = project.write({**matrix(), "if": "matrix.item != 'b'"}).deploy()

    assert states(run) == {"work[a]": "succeeded", "work[b]": "skipped", "work[c]": "succeeded"}


def test_the_lease_is_newer_than_what_any_items_database_has_seen(project):
    for item, fence in (("a", 7), ("b", 41)):
        with closing(sqlite3.connect(project.folder / f"{item}.db")) as database, database:
            database.execute(
                "CREATE TABLE deployguard_fence (id INTEGER PRIMARY KEY CHECK (id = 1), fence INTEGER NOT NULL)"
            )
            database.execute("INSERT INTO deployguard_fence VALUES (1, ?)", [fence])

    project.write(matrix(items=("a", "b"), database="sqlite:///${{ matrix.item }}.db")).deploy()

    assert [taken.fence for taken in project.recorded(e.LeaseTaken)] == [42]


# -- one item fails


def test_where_one_fails_those_under_way_end_no_other_begins_and_all_are_undone_last_first(project):
    # b ends only after it is on record that a has failed
    fails = f"if [ $ITEM = a ]; then {UNDER_WAY.format('b-is-here')}; exit 1; fi; touch b-is-here; {UNDER_WAY.format('a-failed')}"

    class Telling(Nobody):
        def recorded(self, record):
            if isinstance(record.event, e.StepFailed):
                (project.folder / "a-failed").touch()

    run = project.write(matrix(fails, at_once=2)).deploy(observer=Telling())

    assert run.state == "rolled_back"
    assert states(run) == {"work[a]": "compensated", "work[b]": "compensated", "work[c]": "pending"}
    assert sorted(project.trace()[:3]) == ["+a", "+b", "-b"]
    assert project.trace()[3:] == ["undo b", "undo a"]
    assert "work[a]" not in run.reason
    assert "exit status 1" in run.reason


ENDS = {"failed": StepFailed("it cannot be"), "waiting": Waiting("not yet"), "bug": RuntimeError("a bug"), "fine": None}


class Pulsing(Step):
    """Of its items `bad` ends as it is told, once `good` is at work; the others work until they are stopped."""

    uses = "test.pulsing"
    idempotent = True

    item: str
    ends: str

    def execute(self, context):
        here = context.target.directory
        (here / f"begun-{self.item}").touch()
        if self.item == "bad":
            while not (here / "begun-good").exists():
                time.sleep(0.01)
            if self.ends == "lease":
                (context.target.home.locks / "staging.lock").unlink()
            elif ENDS[self.ends]:
                raise ENDS[self.ends]
        until = time.monotonic() + 30
        while self.ends != "waiting" and time.monotonic() < until:
            context.pulse(Progress("working", 1))
            time.sleep(0.01)
        return Outcome("done")


@pytest.fixture
def pulsing(monkeypatch, project):
    all_kinds.cache_clear()
    monkeypatch.setattr("deployguard.steps.KINDS", {**KINDS, "test.pulsing": Pulsing})

    def deploy(ends):
        work = {"id": "pulse", "uses": "test.pulsing", "matrix": {"item": ["bad", "good", "late"]}, "max_parallel": 2}
        return project.write({**work, "with": {"item": "${{ matrix.item }}", "ends": ends}}).deploy()

    yield deploy
    all_kinds.cache_clear()


def test_where_one_fails_those_that_can_stop_earlier_do_so_at_a_safe_point(project, pulsing):
    run = pulsing("failed")

    assert run.state == "rolled_back"
    assert [(i.step, i.reason) for i in project.recorded(e.StepInterrupted)] == [
        ("pulse[good]", "stopped at a safe point, since pulse[bad] failed")
    ]
    assert not (project.folder / "begun-late").exists()


def test_an_item_that_waits_keeps_no_other_from_being_done(pulsing):
    run = pulsing("waiting")

    assert run.state == "waiting"
    assert states(run) == {"pulse[bad]": "waiting", "pulse[good]": "succeeded", "pulse[late]": "succeeded"}
    assert [w.step for w in run.waiting_for] == ["pulse[bad]"]


@pytest.mark.parametrize(("ends", "error"), [("lease", LeaseLost), ("bug", RuntimeError)])
def test_what_ends_the_run_ends_every_item_and_is_told(project, pulsing, ends, error):
    with pytest.raises(error):
        pulsing(ends)

    assert not (project.folder / "begun-late").exists()


def test_an_item_that_may_fail_keeps_no_other_from_being_done(project):
    run = project.write(matrix("test $ITEM != b", continue_on_error=True, at_once=2)).deploy()

    assert run.state == "succeeded"
    assert states(run) == {"work[a]": "succeeded", "work[b]": "failed", "work[c]": "succeeded"}


def test_after_a_stop_only_what_is_not_done_is_done(project):
    project.write(matrix("test $ITEM != b -o -e mended"), environment={"on_failure": "stop"})
    assert project.deploy().state == "failed"
    (project.folder / "mended").touch()

    run = project.resume()

    assert run.state == "succeeded"
    assert project.trace() == ["+a", "-a", "+b", "+b", "-b", "+c", "-c"]


# -- the engine dies


def test_a_killed_engine_leaves_each_item_where_it_was(project):
    # a is done, b and c are at work when the engine dies
    work = f"[ $ITEM = a ] && {{ {AT_WORK.format('b')}; {AT_WORK.format('c')}; }} || {UNDER_WAY.format('go')}"
    project.write(matrix(work, at_once=3, idempotent=True)).kill_after(e.StepFinished, step="work[a]")
    (project.folder / "go").touch()

    run = project.resume()

    assert run.state == "succeeded"
    assert Counter(project.trace())["+a"] == 1
    assert [i.step for i in project.recorded(e.StepInterrupted)] == ["work[b]", "work[c]"]
    assert [(s.id, s.attempts) for s in run.steps.values()] == [("work[a]", 1), ("work[b]", 2), ("work[c]", 2)]


def test_every_item_that_a_person_must_decide_on_is_named_at_once_and_the_others_are_done(project):
    at_work = f"{AT_WORK.format('a')}; {AT_WORK.format('b')}"
    work = f"case $ITEM in a | b) {UNDER_WAY.format('go')};; c) {at_work};; esac"
    project.write(matrix(work, items="abcd", at_once=3)).kill_after(e.StepFinished, step="work[c]")

    with pytest.raises(NeedsPerson) as caught:
        project.resume()

    assert "steps work[a], work[b] were begun and their ends are not on record" in caught.value.message
    assert "--decide 'work[a]=done' --decide 'work[b]=done'" in caught.value.hint
    assert [s.step for s in project.recorded(e.StepFinished)] == ["work[c]", "work[d]"]

    (project.folder / "go").touch()
    run = project.resume(decisions={"work[a]": "done", "work[b]": "retry"})

    assert run.state == "succeeded"
    assert [(d.step, d.decision) for d in run.decisions] == [("work[a]", "done"), ("work[b]", "retry")]
    assert Counter(project.trace())["-a"] == 0


def test_a_decision_is_about_one_item(project):
    project.write(matrix()).kill_after(e.StepStarted)

    with pytest.raises(UsageError, match="--decide work") as caught:
        project.resume(decisions={"work": "done"})

    assert "work[a], work[b], work[c]" in caught.value.hint


@pytest.mark.parametrize("kind", [e.CompensationStarted, e.CompensationFinished])
def test_a_killed_rollback_of_items_goes_on_where_it_stopped(project, kind):
    last = {"id": "last", "run": "false"}
    project.write(matrix(at_once=3), last).kill_after(kind, step="work[b]")

    run = project.resume()

    assert run.state == "rolled_back"
    assert [line for line in project.trace() if "undo" in line] == ["undo c", "undo b", "undo a"]


@pytest.mark.parametrize(("to", "undone"), [("work[b]", ["undo c"]), ("work", []), ("first", ["undo c", "undo b", "undo a"])])  # fmt: skip
def test_a_rollback_keeps_what_it_was_told_to(project, to, undone):
    project.write({"id": "first", "run": "true"}, matrix()).deploy()

    project.rollback(to=to)

    assert [line for line in project.trace() if "undo" in line] == undone


# -- signals


@pytest.fixture
def under_way(project):
    """The real program, with two items at work and two to come."""
    project.write(matrix(UNDER_WAY.format("go"), items="abcd", at_once=2, idempotent=True))
    process = subprocess.Popen(
        [sys.executable, "-m", "deployguard", "deploy", "--env", "staging", "--yes"], cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until = time.monotonic() + 30
    while len(project.trace()) < 2:
        assert time.monotonic() < until
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.stdout.readline()  # which run it is
    yield process
    process.kill()
    process.communicate()


def ask_to_stop(process):
    process.send_signal(signal.SIGTERM)
    assert "stopping at the next safe point" in process.stdout.readline()


def test_asked_once_those_at_work_end_and_no_other_begins(project, under_way):
    ask_to_stop(under_way)
    (project.folder / "go").touch()
    said, _ = under_way.communicate(timeout=60)

    assert under_way.returncode == 7, said
    assert states_on_record(project) == {"a": "succeeded", "b": "succeeded", "c": "pending", "d": "pending"}
    assert project.resume().state == "succeeded"
    assert Counter(project.trace()) == Counter([f"{sign}{item}" for item in "abcd" for sign in "+-"])


def test_asked_twice_all_that_are_at_work_are_ended_at_once(project, under_way):
    ask_to_stop(under_way)
    under_way.send_signal(signal.SIGTERM)
    said, _ = under_way.communicate(timeout=60)

    assert under_way.returncode == 7, said
    assert states_on_record(project) == {"a": "interrupted", "b": "interrupted", "c": "pending", "d": "pending"}
    (project.folder / "go").touch()
    assert project.resume().state == "succeeded"


def states_on_record(project):
    return {s["id"][5]: s["state"] for s in project.shown()["steps"]}
