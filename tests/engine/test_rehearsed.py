"""A rehearsal gives the plan what it has measured, and production has one or says why not."""

import json

import pytest

REFUSED = 3
QUICK = ["--set", "watch=1s", "--set", "watch_every=1s", "--skip", "dependencies"]


@pytest.fixture(scope="module")
def tried(pristine_site, tmp_path_factory):
    """The guide carried out in staging after a rehearsal, and taken back."""
    from small_site import copied

    site = copied(pristine_site, tmp_path_factory.mktemp("tried") / "site")
    done = site.run("deploy", "--env", "staging", "--yes", "--json", "--set", "rehearse=yes", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    encrypted = steps_of(site)
    assert site.run("rollback", "--env", "staging", "--yes").returncode == 0
    return site, {step["id"]: step["summary"] for step in json.loads(done.stdout)["steps"]}, encrypted


def steps_of(site, *arguments):
    done = site.run("plan", "--env", "staging", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {step["id"]: step for step in json.loads(done.stdout)["steps"]}


def test_what_was_measured_takes_the_place_of_an_estimate_later_in_the_run(tried):
    _, summaries, _ = tried

    assert "values to encrypt; measured on a copy: " in summaries["dry-run"]
    assert "about" not in summaries["dry-run"].partition(";")[0]
    assert "the copies are removed; migrate " in summaries["rehearse"]
    assert "undo of encrypt " in summaries["rehearse"]


def test_the_next_plan_of_the_same_change_has_the_measured_times_and_growth(tried):
    site, _, _ = tried

    planned = steps_of(site)

    for step in ("migrate", "encrypt"):
        assert "measured on a copy: " in planned[step]["summary"]
        assert planned[step]["seconds"] > 0
    assert planned["encrypt"]["bytes"] > 0
    assert planned["backup"]["seconds"] is None


def test_where_nothing_is_left_to_encrypt_nothing_measured_is_foretold(tried):
    _, _, encrypted = tried

    assert "measured" not in encrypted["dry-run"]["summary"]
    assert (encrypted["dry-run"]["verdict"], encrypted["dry-run"]["bytes"]) == ("already done", 0)


def test_what_another_runbook_has_measured_is_not_this_ones(tried, tmp_path):
    from small_site import copied

    site = copied(tried[0], tmp_path / "site")
    site.write(
        site.runbook.read_text().replace("batches, beside", "batches beside").replace("at_most: 30s", "at_most: 31s")
    )

    assert "measured" not in steps_of(site)["encrypt"]["summary"]


def asked(site, *arguments):
    said = site.run("preflight", "--env", "production", "--json", *arguments)
    return [
        (c["status"], c["summary"], c["hint"]) for c in json.loads(said.stdout)["checks"] if c["uses"] == "rehearsal"
    ]


LEFT_OUT = {
    "its condition is false": ('rehearse: "yes" ', 'rehearse: "" '),
    "it does not try that step": ("steps: [migrate, encrypt, verify, new-data, tests]", "steps: [migrate, verify]"),
    "it may fail": ("    if: vars.rehearse\n", "    if: vars.rehearse\n    continue_on_error: true\n"),
    "it comes later": ("  - id: rehearse\n    uses: rehearse\n    if: vars.rehearse\n    with: { steps: [migrate, encrypt, verify, new-data, tests], url_in: DATABASE_URL }\n", ""),
}  # fmt: skip


def test_production_whose_change_is_tried_on_a_copy_may_begin(site):
    assert asked(site) == []


@pytest.mark.parametrize(("old", "new"), LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_production_without_a_rehearsal_is_refused_before_anything_is_touched(site, old, new):
    assert old in site.runbook.read_text()
    site.write(site.runbook.read_text().replace(old, new))
    before = site.untouchable("production")

    ((status, summary, hint),) = asked(site)
    done = site.run("deploy", "--env", "production", "--yes")

    assert status == "fail"
    assert summary.startswith("encrypt would rewrite rows that nobody has tried it on")
    assert "uses: rehearse with steps: [encrypt]" in hint
    assert "without_rehearsal" in hint
    assert done.returncode == REFUSED
    assert summary in done.stdout
    assert site.untouchable("production") == before


def test_a_runbook_may_say_why_there_is_no_rehearsal_and_the_report_says_so_first(site):
    old, new = LEFT_OUT["its condition is false"]
    text = site.runbook.read_text().replace(old, new)
    site.write(text.replace("      within: 7d\n", "      within: 7d\n      without_rehearsal: no room for copies\n"))

    ((status, summary, _),) = asked(site)
    site.run("deploy", "--env", "production", "--yes")

    assert (status, summary.rpartition(": ")[2]) == ("warn", "no room for copies")
    (text,) = [p.read_text("utf-8") for p in (site.root / "reports").glob("*.md")]
    head = text[: text.index("\n## ")]
    assert "rewrites rows that nobody has tried it on. Reason given: no room for copies" in head


def test_staging_may_go_without(site):
    done = site.run("preflight", "--env", "staging", "--json")

    assert "rehearsal" not in {check["uses"] for check in json.loads(done.stdout)["checks"]}
