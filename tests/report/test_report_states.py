import re
from dataclasses import replace

import pytest
import stories

from deployguard.errors import UsageError
from deployguard.journal import events as e
from deployguard.report.build import build
from deployguard.report.render import render_html, render_markdown


def report_of(name):
    story = stories.ALL[name]()
    return build(story.records, story.run)


def markdown_of(name):
    # escapes are the filter's business; these tests read what a reader sees
    return re.sub(r"\\([^\w\s])", r"\1", render_markdown(report_of(name)))


def headings(text):
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("succeeded", "Succeeded"),
        ("rolled_back", "Rolled back"),
        ("restored", "Rolled back"),
        ("undoing", "No end on record"),
        ("rollback_incomplete", "Rollback incomplete: a person is needed"),
        ("failed", "Failed"),
        ("dead", "No end on record"),
        ("interrupted", "Interrupted"),
        ("waiting", "Waiting"),
        ("refused", "Refused: nothing was changed"),
        ("preflight", "Ready"),
        ("nothing_to_do", "Ready"),
        ("running", "No end on record"),
    ],
)
def test_the_verdict_is_the_first_thing_said_in_both_formats(name, word):
    text, html = markdown_of(name), render_html(report_of(name))

    assert text.index(f"**{word}.**") < text.index("## ")
    assert html.index(f'<p class="word">{word}</p>') < html.index("<h2>")


def test_the_parts_of_a_success_stand_in_reading_order():
    assert headings(markdown_of("succeeded")) == [
        "What to do next", "Summary", "Timeline", "What changed", "Checks and decisions", "Steps",
        "Rollback", "Proof", "What this does not cover", "Checklist", "Compliance", "Integrity",
    ]  # fmt: skip


def test_the_first_paragraph_says_who_when_where_and_how_long():
    first = markdown_of("succeeded").split("## ")[0]

    assert "Begun by `anna` on `app-1` at 2026-03-06 14:05:02 UTC" in first
    assert "database /srv/site/db.sqlite3" in first
    assert "38 s in all" in first
    assert "13,500 values in 3 columns were encrypted" in first


def test_an_incomplete_rollback_first_says_what_is_left_for_a_person():
    text = markdown_of("rollback_incomplete")

    left = text.index("- `code`: **Put web/models.py aside, then run the command below.**")
    assert left < text.index("was to be taken back")
    assert f"`deployguard rollback {stories.RUN}`" in text


def test_what_a_later_rollback_undid_is_no_longer_left():
    story = stories.rollback_incomplete()
    story.add(
        e.RunResumed(actor="anna", host="app-1"), e.CompensationStarted(step="code", uses="git.update", attempt=2)
    )
    story.add(e.CompensationFinished(step="code", summary="back at 1a2b3c4d5e6f")).end("rolled_back")

    report = build(story.records, story.run)

    assert report.left == ()
    assert ("The former state is back", "proven") in [(p.promise, p.status) for p in report.promises]


def test_an_override_stands_above_everything_but_the_verdict():
    text = markdown_of("overridden")

    assert "`bob` overrode `monitor`" in text.split("## ")[0]
    assert "| `monitor` | **override** | bob | the page is known to be slow |" in text


def test_a_run_of_only_some_steps_says_so_at_the_top():
    story = stories.Story().start(settings={"selection": {"skip": ["backup"]}})

    report = build(story.records, story.run)

    assert "`--skip backup`" in render_markdown(report).split("## ")[0]


@pytest.mark.parametrize("name", ["dead", "interrupted", "waiting", "failed", "running"])
def test_an_unfinished_run_says_how_to_go_on_and_how_to_go_back(name):
    text = markdown_of(name)

    assert "`deployguard deploy --resume --env production`" in text
    assert f"`deployguard rollback {stories.RUN}`" in text


def test_a_refusal_gives_the_hint_of_the_check_that_refused():
    text = markdown_of("refused")

    assert "`key.check`: Generate one: deployguard keys generate." in text
    assert "Rollback" not in headings(text)


def test_the_way_back_is_told_last_step_first_with_its_command():
    rollback = report_of("succeeded").rollback

    assert [line.step for line in rollback.lines] == [s[0] for s in reversed(stories.STEPS)]
    assert rollback.command == f"deployguard rollback {stories.RUN}"
    assert rollback.restore_command.endswith("--via restore")
    assert rollback.lines[-1].how == "stays; backup.restore is option 2"


def test_a_completed_rollback_offers_no_command_to_do_it_again():
    rollback = report_of("rolled_back").rollback

    assert (rollback.command, rollback.restore_command) == ("", "")
    assert [(line.step, line.state) for line in rollback.lines[:4]] == [
        ("encrypt", "undone"), ("migrate", "undone"), ("dependencies", "undone"), ("code", "undone"),
    ]  # fmt: skip


def test_a_finished_rollback_warns_of_no_restore_that_is_still_to_come():
    assert "It loses everything" not in markdown_of("rolled_back")


def test_a_restored_backup_undid_what_stood_in_the_database():
    report = report_of("restored")

    undone = {line.step: line.state for line in report.rollback.lines}
    assert (undone["encrypt"], undone["migrate"]) == ("undone", "undone")
    assert report.promises[0].status == "proven"
    assert "by restoring the backup" in markdown_of("restored")


def test_without_a_restored_backup_nothing_in_the_database_is_called_undone():
    story = stories.Story().fail_verify().undo("code", "backup", via="restore", stuck="backup")

    report = build(story.end("rollback_incomplete").records, story.run)

    assert {line.step: line.state for line in report.rollback.lines}["encrypt"] == "kept"


def test_a_rollback_that_was_cut_short_goes_on_the_way_it_was_begun():
    text = markdown_of("undoing")

    assert f"`deployguard rollback {stories.RUN} --to backup --via restore`" in text
    assert "deploy --resume" not in text


@pytest.mark.parametrize(("uses", "status"), [("http", "proven"), ("run", "not proven")])
def test_only_a_step_that_may_have_changed_something_casts_doubt_on_a_rollback(uses, status):
    story = stories.Story().start([("code", "git.update", "", "git.update"), ("health", uses, "", None)])
    story.step("code", "done").add(e.StepStarted(step="health", uses=uses, attempt=1)).finish("health", "200")

    report = build(story.undo("code").end("rolled_back").records, story.run)

    assert report.promises[0].status == status


@pytest.mark.parametrize(
    "changed", [5, None, "x", [1], {"a": "b"}, {"a": [None, None]}, {"a": ["1", "2", "3"]}, {1: []}]
)
def test_evidence_of_another_shape_is_shown_and_breaks_nothing(changed):
    story = stories.Story().start().step("dependencies", "done", evidence={"changed": changed})

    assert render_markdown(build(story.end("succeeded").records, story.run))


def test_packages_are_told_with_the_versions_before_and_after():
    changes = dict(report_of("succeeded").changes)

    assert [part.text for part in changes["Packages"][::2]] == [
        "cryptography 44.0.2 → 45.0.1", "django-encrypted-model-fields 0.6.5",
    ]  # fmt: skip
    assert "- changed: `cryptography 44.0.2 → 45.0.1; django-encrypted-model-fields 0.6.5`" in markdown_of("succeeded")


def test_every_promise_is_proven_by_a_run_that_verified_every_row():
    assert [p.status for p in report_of("succeeded").promises] == ["proven"] * 4


def test_nothing_is_called_proven_without_a_verification():
    statuses = {p.promise: p.status for p in report_of("failed").promises}

    assert statuses["No row was lost"] == "not proven"
    assert statuses["No plaintext is left in the columns"] == "not proven"
    assert statuses["Every encrypted value can be read"] == "not proven"


@pytest.mark.parametrize(
    ("kind", "promise"),
    [("plaintext", "No plaintext is left in the columns"), ("unknown", "Every encrypted value can be read")],
)
def test_a_verification_that_found_something_contradicts_the_promise(kind, promise):
    story = stories.succeeded()
    for record in story.records:
        if isinstance(record.event, e.StepFinished) and record.event.step == "verify" and record.run == story.run:
            record.event.evidence["columns"][1][kind] = 2

    found = next(p for p in build(story.records, story.run).promises if p.promise == promise)

    assert found.status == "contradicted"


def test_a_verification_from_before_the_last_write_proves_nothing():
    story = stories.Story().until_encrypted()
    story.step("verify", "fine", evidence={"columns": stories.counts(encrypted=True)})
    story.begin("encrypt", attempt=2).finish("encrypt", "3 more", attempt=2, evidence={"columns": stories.worked()})

    report = build(story.end("succeeded").records, story.run)

    assert "proven" not in [p.status for p in report.promises[:3]]
    assert "is not proven" in render_markdown(report).split("## ")[0]


@pytest.mark.parametrize("handshake", [False, None, "refused", {"ok": False}])
def test_a_handshake_that_did_not_work_is_not_claimed(handshake):
    story = stories.succeeded()
    for record in story.records:
        if isinstance(record.event, e.CheckFinished) and "handshake" in record.event.evidence:
            record.event.evidence["handshake"] = handshake

    assert "each other's tokens" not in render_markdown(build(story.records, story.run))


def test_fewer_rows_than_before_are_never_called_proven():
    story = stories.succeeded()
    verified = [
        r.event
        for r in story.records
        if getattr(r.event, "step", "") == "verify" and isinstance(r.event, e.StepFinished)
    ]
    verified[-1].evidence["columns"][0]["rows"] -= 1

    assert build(story.records, story.run).promises[0].status == "not proven"


def test_after_a_rollback_no_column_is_said_to_be_encrypted_now():
    story = stories.succeeded().undo("encrypt", "migrate", "dependencies", "code").end("rolled_back")

    report = build(story.records, story.run)

    assert all(column.encrypted[1] is None for column in report.columns)
    assert report.promises[0].promise == "The former state is back"
    assert all(
        task.due == () or "after success" in str(task.due) or "2026-04-01" in task.due for task in report.checklist
    )


def test_a_backup_that_was_not_tried_is_not_a_proven_way_back():
    story = stories.succeeded()
    for record in story.records:
        if isinstance(record.event, e.StepFinished) and record.event.step == "backup":
            record.event.evidence["state"] = "written"

    assert build(story.records, story.run).promises[-1].status == "not proven"


def test_due_dates_count_from_the_end_of_the_run():
    text = markdown_of("succeeded")

    assert "- [ ] Watch error rates (due 2026-03-08)" in text
    assert "- [ ] Train the team on key management (due 2026-04-01)" in text
    assert "- [ ] Schedule the first key rotation (due 2026-09-02)" in text


def test_due_dates_of_a_run_that_did_not_succeed_are_left_open():
    assert "- [ ] Watch error rates (due 48h after success)" in markdown_of("preflight")


def test_the_run_that_was_promoted_is_named():
    story = stories.Story(records=stories.staged()).start()
    story.check("promotion", "same commit and runbook", run=stories.STAGING, environment="staging")

    text = render_markdown(build(story.records, story.run))

    assert f"`staging`, run `{stories.STAGING}`, ended 2026-03-05 10:15:" in text


def test_earlier_backups_of_the_same_environment_are_named_as_holding_plaintext():
    story = stories.Story("production-earlier").until_encrypted().end("succeeded")
    story = stories.Story(records=story.records).until_watched().finish("monitor", "fine").end("succeeded")

    residue = render_markdown(build(story.records, story.run))

    assert "`.deployguard/backups/production-earlier`" in residue.split("## What this does not cover")[1]


def test_what_was_cleaned_and_what_was_not_reached_is_told():
    story = stories.Story().until_encrypted()
    places = [
        {"what": "the table web_profile", "before": 60, "found": 0, "bytes": 9, "why_not": "", "cleaned": True},
        {"what": "the redo log", "before": 0, "found": 0, "bytes": 0, "why_not": "no rights", "cleaned": False},
    ]
    echoes = [{"what": "the binary logs", "until": "10 days have passed", "fix": "Purge <them>."}]
    story.begin("tests").finish("tests", "clean", evidence={"samples": 65, "places": places, "echoes": echoes})
    story.records[0] = replace(story.records[0], event=with_kind(story.records[0].event, "tests", "encryption.scrub"))

    residue = render_markdown(build(story.records, story.run)).split("## What this does not cover")[1]

    assert "the table web_profile: of 65 former values 60 stood there before it was cleaned, 0 do now." in residue
    assert "the redo log: not looked at, no rights." in residue
    assert "the binary logs may hold former values until 10 days have passed. Purge" in residue
    assert "<them>" not in residue.replace("\\<", "")
    assert "data scrub" not in residue


def with_kind(started, step, uses):
    return replace(started, steps=[{**s, "uses": uses} if s["id"] == step else s for s in started.steps])


def test_backups_of_other_environments_are_not():
    residue = markdown_of("succeeded").split("## What this does not cover")[1]

    assert stories.STAGING not in residue


def test_each_attempt_of_a_step_is_told_with_its_exit_code_and_output():
    text = markdown_of("succeeded")

    assert "**failed**, 4.0 s, exit code `1`. pip install: exit status 1" in text
    assert "```\nERROR: Could not reach the index\nERROR: giving up\n```" in text
    assert "| 3 | `dependencies` | ✓ succeeded | 10 s | 2 |" in text


def test_the_same_journal_gives_the_same_bytes():
    first, second = report_of("succeeded"), report_of("succeeded")

    assert render_markdown(first) == render_markdown(second)
    assert render_html(first) == render_html(second)


def test_later_runs_in_the_journal_change_nothing_in_the_report_of_an_earlier_one():
    story = stories.succeeded()
    alone = [r for r in story.records if r.run == stories.STAGING]

    assert render_markdown(build(story.records, stories.STAGING)) == render_markdown(build(alone, stories.STAGING))


@pytest.mark.parametrize("cut", range(1, len(stories.rollback_incomplete().records) + 1))
def test_a_journal_that_ends_anywhere_has_a_report(cut):
    records = stories.rollback_incomplete().records[:cut]

    report = build(records, stories.RUN)

    assert render_markdown(report)
    assert render_html(report)


def test_a_clock_that_was_set_back_breaks_nothing():
    records = [replace(r, at="2020-01-01T00:00:00.000+00:00") if r.seq > 5 else r for r in stories.failed().records]

    assert "0.0 s in all" in render_markdown(build(records, stories.RUN))


def test_a_run_that_is_not_in_the_journal_is_named():
    with pytest.raises(UsageError, match="there is no run nowhere"):
        build(stories.succeeded().records, "nowhere")
