"""Steps are carried out in order, each intent on record before its effect."""

import os

import pytest
from projects import Project, e, states, step

from deployguard.engine.plan import Selection
from deployguard.errors import Refused, RunbookError


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_steps_run_in_the_order_they_stand_in(project):
    run = project.write(step("one"), step("two"), step("three")).deploy()

    assert run.state == "succeeded"
    assert project.trace() == ["one", "two", "three"]


def test_intent_is_on_record_before_the_effect_and_the_end_after_it(project):
    project.write(step("one", "cp .deployguard/journal.db* seen/ && true"))
    (project.folder / "seen").mkdir()

    project.deploy()

    seen = Project(project.folder)
    (project.folder / "seen" / ".deployguard").mkdir()
    for name in ("journal.db", "journal.db-wal"):
        (project.folder / "seen" / name).rename(project.folder / "seen" / ".deployguard" / name)
    seen.folder = project.folder / "seen"
    assert len(seen.recorded(e.StepStarted)) == 1
    assert seen.recorded(e.StepFinished) == []
    assert len(project.recorded(e.StepFinished)) == 1


def test_what_a_step_gives_a_later_step_can_use(project):
    project.write(
        step("one", 'echo "path=/a b;c" >> "$DEPLOYGUARD_OUTPUT"', outputs=["path"]),
        step("two", 'printf %s "$WHERE" > where', env={"WHERE": "${{ steps.one.outputs.path }}"}),
    ).deploy()

    assert (project.folder / "where").read_text() == "/a b;c"


def test_an_output_that_was_not_given_fails_the_step(project):
    run = project.write(step("one", outputs=["path"])).deploy()

    assert run.state == "rolled_back"
    assert "path" in run.reason


def test_an_output_of_a_step_left_out_fails_the_step_that_needs_it_and_is_undone_like_any_failure(project):
    project.write(
        step("first"),
        step("one", outputs=["path"], if_="vars.wanted"),
        {"id": "two", "run": ["echo", "${{ steps.one.outputs.path }}"]},
        vars={"wanted": False},
    )

    run = project.deploy()

    assert run.state == "rolled_back"
    assert states(run)["two"] == "failed"
    assert project.trace() == ["first", "undo first"]


@pytest.mark.parametrize(("condition", "ran"), [("vars.wanted == 'yes'", True), ("${{ vars.wanted != 'yes' }}", False)])
def test_a_condition_decides_whether_a_step_runs(project, condition, ran):
    run = project.write(step("one", if_=condition), vars={"wanted": "yes"}).deploy()

    assert run.state == "succeeded"
    assert project.trace() == (["one"] if ran else [])
    assert ran or run.steps["one"].summary == "condition false"


def test_a_condition_may_ask_for_an_earlier_steps_output(project):
    run = project.write(
        step("one", 'echo "size=big" >> "$DEPLOYGUARD_OUTPUT"', outputs=["size"]),
        step("two", if_="steps.one.outputs.size == 'big'"),
        step("three", if_="steps.one.outputs.size == 'small'"),
    ).deploy()

    assert states(run) == {"one": "succeeded", "two": "succeeded", "three": "skipped"}


def test_a_step_whose_check_says_done_is_not_run(project):
    run = project.write(step("one", check="true"), step("two", check="false")).deploy()

    assert states(run) == {"one": "skipped", "two": "succeeded"}
    assert project.trace() == ["two"]


def test_needs_is_order_only_and_may_not_name_a_later_step(project):
    run = project.write(step("one", if_="false"), step("two", needs=["one"])).deploy()
    assert states(run) == {"one": "skipped", "two": "succeeded"}

    with pytest.raises(RunbookError, match="needs names 'two'"):
        project.write(step("one", needs=["two"]), step("two")).deploy()


def test_a_step_may_fail_where_the_runbook_allows_it(project):
    run = project.write(step("one", "exit 3", continue_on_error=True), step("two")).deploy()

    assert run.state == "succeeded"
    assert states(run) == {"one": "failed", "two": "succeeded"}


def test_a_step_that_takes_too_long_is_ended(project, time_from):
    time_from(project.trace)

    run = project.write(step("one", "sleep 60", timeout="300ms")).deploy()

    assert run.state == "rolled_back"
    assert "not done in time" in run.reason
    assert project.trace() == ["one", "undo one"]


def test_a_step_that_somebody_killed_failed_by_that_signal(project):
    run = project.write(step("one", "kill -KILL $$")).deploy()

    assert run.state == "rolled_back"
    assert "killed by SIGKILL" in run.reason
    assert [f.command_exit for f in project.recorded(e.StepFailed)] == [-9]


def test_a_step_runs_where_and_with_what_it_says_and_with_nothing_else(project, monkeypatch):
    (project.folder / "sub").mkdir()
    monkeypatch.setenv("UNRELATED", "must not be seen")
    project.write(
        {"id": "one", "run": ["/bin/sh", "-c", "env > ../env; pwd > ../where"], "cwd": "sub", "env": {"NAME": "value"}}
    )

    run = project.deploy()

    assert run.state == "succeeded"
    assert (project.folder / "where").read_text().strip() == str(project.folder / "sub")
    seen = dict(line.split("=", 1) for line in (project.folder / "env").read_text().splitlines())
    assert seen["NAME"] == "value"
    assert "UNRELATED" not in seen


def test_a_file_for_a_step_is_private_and_gone_afterwards(project):
    project.write(
        step(
            "one",
            'stat -c %a "$CONFIG" > mode; cat "$CONFIG" > content; echo "$CONFIG" > name',
            files={"CONFIG": "a: ${{ vars.x }}"},
        ),
        vars={"x": "1"},
    ).deploy()

    assert (project.folder / "mode").read_text() == "600\n"
    assert (project.folder / "content").read_text() == "a: 1"
    assert not os.path.lexists((project.folder / "name").read_text().strip())


def test_only_the_steps_that_a_person_asked_for_run(project):
    project.write(step("one"), step("two"), step("three"))

    project.deploy(selection=Selection(only=("two",)))
    project.deploy(selection=Selection(skip=("two",)))
    project.deploy(selection=Selection(first="three"))

    assert project.trace() == ["two", "one", "three", "three"]


def test_a_report_that_cannot_be_written_takes_nothing_from_the_run(project):
    project.write(step("one"))
    (project.folder / "reports").write_text("a file is in the way")

    done = project.command("deploy", "--env", "staging", "--yes")

    assert done.returncode == 0
    assert "the report could not be written" in done.stdout
    assert "deployguard report staging-" in done.stdout


def test_a_check_that_says_no_ends_the_run_before_anything_is_changed(project):
    run = project.write(step("one"), preflight=[{"uses": "git.clean"}]).deploy()

    assert run.state == "refused"
    assert project.trace() == []
    assert project.recorded(e.LeaseTaken) == []


@pytest.mark.parametrize("ended", ["failed", "running", "rollback_incomplete"])
def test_a_new_run_waits_until_the_unfinished_one_is_resumed_or_undone(project, ended):
    project.write(
        step("one", "exit 1", undo="false" if ended == "rollback_incomplete" else None),
        environment={"on_failure": "rollback" if ended == "rollback_incomplete" else "stop"},
    )
    if ended == "running":
        project.kill_after(e.StepStarted)
    else:
        project.deploy()

    with pytest.raises(Refused, match=f"unfinished \\({ended}\\)") as caught:
        project.deploy()

    assert "--resume" in caught.value.hint
    assert project.trace() == ([] if ended == "running" else ["one"])


def test_an_older_unfinished_run_is_not_hidden_by_a_newer_one(project):
    project.write(step("one", undo="test -e mended"))
    first = project.deploy()
    project.deploy()
    (project.folder / "mended").touch()
    project.rollback()
    (project.folder / "mended").unlink()
    project.rollback(run=first.id)

    with pytest.raises(Refused, match=first.id):
        project.deploy()
