"""Watching through the real engine: every condition is looked at, and a breach does what the runbook says."""

import contextlib
import json
import sqlite3

import pytest
from projects import FrozenClock, Project, e, step

from deployguard.errors import RunbookError
from deployguard.journal.state import fold


@pytest.fixture
def project(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "site.db")) as connection:
        connection.executescript("CREATE TABLE jobs (id INTEGER PRIMARY KEY); INSERT INTO jobs VALUES (1), (2)")
    (tmp_path / "app.log").write_text("InvalidToken\nfine\n")
    return Project(tmp_path)


def watch(*conditions, **keys):
    keys = {"for": 0, "every": "10s", **keys}
    # one object twice would be an alias in YAML, which a runbook may not have
    given = json.loads(json.dumps({**keys, "conditions": list(conditions)}))
    return {"id": "monitor", "uses": "monitor", "with": given}


def command(*words, **more):
    return {"command": {"command": words}, **more}


def written(project, *steps, on_failure="stop", **keys):
    return project.write(*steps, environment={"on_failure": on_failure, "database": "sqlite:///site.db"}, **keys)


def said(run):
    return run.steps["monitor"].summary


def sampled(project):
    return [s.condition for s in project.recorded(e.Sampled)]


# -- several conditions on one subject

SUBJECTS = {
    "command": ({"command": ["sh", "-c", "exit 3"]}, {"command": ["sh", "-c", "exit 0"]}),
    "the same command": ({"command": ["echo", "bad"], "absent": "bad"}, {"command": ["echo", "bad"]}),
    "log": ({"file": "app.log", "absent": "Token", "whole": True}, {"file": "app.log", "absent": "Token"}),
    "http": ({"url": "URL", "status": 500}, {"url": "URL"}),
    "sql": ({"query": "select count(*) from jobs", "expect": 0}, {"query": "select count(*) from jobs", "expect": 2}),
    "metric": ({"prometheus": "URL", "query": "x", "expect": 2}, {"prometheus": "URL", "query": "x", "expect": 1}),
    "disk": ({"path": ".", "free": "900000TiB"}, {"path": ".", "free": 1}),
    "process": ({"program": "pytest", "memory": 1}, {"program": "pytest"}),
}


def kind_of(subject):
    return subject.rpartition(" ")[2]


@pytest.mark.parametrize("bad_one", ["first", "last"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_of_two_conditions_on_one_subject_both_are_looked_at_and_the_bad_one_fails(project, pages, subject, bad_one):
    text = json.dumps(SUBJECTS[subject]).replace("URL", pages.url)
    bad, good = [{kind_of(subject): given} for given in json.loads(text)]
    both = [bad, good] if bad_one == "first" else [good, bad]

    run = written(project, watch(*both)).deploy()
    seen = fold(project.records())[run.id].watched["monitor"].seen

    assert run.state == "failed"
    failed = [name for name, each in seen.items() if each.failed]
    assert len(failed) == 1
    assert said(run).startswith(f"{failed[0]}: ")
    assert len(seen) == (1 if bad_one == "first" else 2)  # the first breach ends the watch


@pytest.mark.parametrize("subject", SUBJECTS)
def test_of_two_conditions_on_one_subject_each_has_its_own_line_in_the_report(project, pages, subject):
    given = json.loads(json.dumps(SUBJECTS[subject][1]).replace("URL", pages.url))
    run = written(project, watch({kind_of(subject): given}, {kind_of(subject): given, "severity": "warn"})).deploy()

    found = run.steps["monitor"].evidence["conditions"]

    assert run.state == "succeeded"
    assert len({each["name"] for each in found}) == 2
    assert [each["samples"] for each in found] == [1, 1]


def test_a_condition_is_named_by_its_whole_command_or_as_the_runbook_says(project):
    words = "sh", "-c", "exit 0\n# and more"
    written(project, watch(command(*words, name="the queue"), command(*words), command("sh", "-c", "true"))).deploy()

    assert sampled(project) == ["the queue", "command sh -c 'exit 0 # and more'", "command sh -c true"]


def test_a_name_that_the_runbook_gives_is_taken_by_no_other(project):
    true = command("true")
    written(project, watch(true, true, {**true, "name": "command true (1)"}, {"disk": {"free": 1}})).deploy()

    assert sampled(project) == ["command true (2)", "command true (3)", "command true (1)", "disk ."]


def test_two_conditions_of_one_name_are_refused_before_anything_runs(project):
    with pytest.raises(RunbookError, match="several conditions are named queue"):
        written(project, watch(*[command("true", name="queue")] * 2)).deploy()

    assert not (project.folder / ".deployguard").exists()


def test_a_secret_is_in_no_name(project, monkeypatch):
    monkeypatch.setenv("TOKEN", "a-secret-that-nobody-sees")
    place = {"token": {"from": "env", "name": "TOKEN"}}
    condition = {"sql": {"query": "select 0 -- a-secret-that-nobody-sees"}}
    run = written(project, watch(condition), secrets=place).deploy()

    assert run.state == "succeeded"
    assert sampled(project) == ["sql select 0 -- ***"]


# -- journals of the version before


def left_by_the_former_version(project, *events):
    project.kill_after(e.StepStarted, step="monitor")
    project.append(*events, e.StepWaiting(step="monitor", reason="watched"), e.RunFinished(state="waiting"))


def looked(condition, *, ok=True, elapsed=0.0, **more):
    return e.Sampled(step="monitor", condition=condition, ok=ok, value="seen", elapsed=elapsed, **more)


def test_a_watch_of_the_former_version_goes_on_with_what_it_had_seen(project):
    written(project, watch(command("sh", "-c", "exit 3"), failures=3))
    left_by_the_former_version(project, looked("command sh", ok=False), looked("command sh", ok=False))

    assert "3 in a row" in said(project.resume())


def test_what_two_conditions_shared_in_a_former_journal_is_the_last_ones_and_the_other_is_said_to_be_late(project):
    first, last = (command("sh", "-c", f"exit 0 # {n}") for n in "12")
    written(project, watch(first, last, every=0.001, failures=9))
    left_by_the_former_version(
        project, looked("command sh", ok=False, elapsed=60.0), looked("command sh", elapsed=61.0)
    )
    run = project.resume()

    found = {each["name"]: each["samples"] for each in run.steps["monitor"].evidence["conditions"]}
    assert found["command sh -c 'exit 0 # 2'"] == 3
    assert found["command sh -c 'exit 0 # 1'"] == 1
    assert "not watched from the beginning: command sh -c 'exit 0 # 1'" in said(run)


def test_a_log_of_a_former_watch_is_read_on_from_where_it_was(project):
    same = {"log": {"file": "app.log", "absent": "Token"}}
    written(project, watch({**same, "severity": "warn"}, same))
    inode = (project.folder / "app.log").stat().st_ino
    left_by_the_former_version(
        project, looked("log app.log without Token", cursor={"inode": inode, "at": 0, "seen": 0})
    )

    assert said(project.resume()).startswith("log app.log without Token (2): 1 matching lines")


# -- when failed looks are a breach


def many_looks(project, pages, statuses, *, severity="fail", **rules):
    """A hundred looks in no time, of which the last status goes on."""
    pages.told["status"] = list(statuses)
    condition = {"http": {"url": pages.url}, "severity": severity}
    return written(project, watch(condition, **{"for": "990s", **rules})).deploy(clock=FrozenClock())


BREACHES = {
    "one failed look, where nothing else is said": ({}, [200, 500, 200], "1 in a row"),
    "three failures in a row": ({"failures": 3}, [500, 500, 200, 500, 500, 500, 200], "3 in a row"),
    "more than the budget": ({"budget": "2%"}, [500, 200, 500, 200, 500, 200], "more than the budget of 0.02 of 100"),
    "a budget that burns too fast": (
        {"budget": "10%", "burn": [{"window": "200s", "rate": 2}]},
        [500, 200, 500, 200, 500, 500, 200], "burns 2",
    ),
}  # fmt: skip
NONE = {
    "two failures in a row": ({"failures": 3}, [500, 500, 200]),
    "what the budget has": ({"budget": "2%"}, [500, 200, 500, 200]),
    "as many failures, slowly": (
        {"budget": "10%", "burn": [{"window": "200s", "rate": 2}]},
        [*[500, *[200] * 9] * 4, 200],
    ),
    "what had burned fast and is over": (
        {"budget": "10%", "burn": [{"window": "200s", "rate": 4, "short": "100s"}]},
        [*[500] * 7, *[200] * 11, 500, 200],
    ),
    "anything, of what only warns": ({"severity": "warn"}, [500]),
}  # fmt: skip


@pytest.mark.parametrize("what", BREACHES)
def test_a_breach_is(project, pages, what):
    rules, statuses, why = BREACHES[what]

    run = many_looks(project, pages, statuses, **rules)

    assert run.state == "failed"
    assert why in said(run)


@pytest.mark.parametrize("what", NONE)
def test_no_breach_is(project, pages, what):
    rules, statuses = NONE[what]

    run = many_looks(project, pages, statuses, **rules)

    assert (run.state, run.steps["monitor"].status) == ("succeeded", "warn")


@pytest.mark.parametrize("rules", [{"burn": [{"window": "1h", "rate": 2}]}, {"budget": "101%"}, {"budget": -1}])
def test_rules_that_mean_nothing_are_refused(project, rules):
    with pytest.raises(RunbookError):
        written(project, watch(command("true"), **rules)).deploy()


@pytest.mark.parametrize(("policy", "state"), [("stop", "failed"), ("rollback", "rolled_back"), ("ask", "failed")])
def test_a_breach_does_what_the_runbook_says(project, pages, policy, state):
    pages.told["status"] = 500
    run = written(project, step("work"), watch({"http": {"url": pages.url}}), on_failure=policy).deploy()

    assert run.state == state
    assert project.trace() == ["work", *["undo work"] * (policy == "rollback")]
