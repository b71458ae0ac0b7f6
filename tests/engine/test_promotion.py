"""Production is refused unless the same commit and the same runbook have just succeeded, whole, in staging."""

import json
import subprocess
import time

import pytest

RUNBOOK = """\
version: 1
name: bring-code
code: { remote: origin, branch: main }
environments:
  staging: { directory: staging }
  production:
    directory: production
    requires: { promoted_from: staging, within: 1h }
steps:
  - id: code
    uses: git.update
  - id: check
    run: sh -c "test ! -e broken"
    idempotent: true
"""
REFUSED, WAITS = 3, 4


@pytest.fixture
def site(site):
    site.write(RUNBOOK)
    return site


def deploy(site, environment, *arguments):
    done = site.run("deploy", "--env", environment, "--yes", *arguments)
    print(done.stdout, done.stderr)
    return done


def head(site, environment):
    asked = ["git", "-C", site.copy(environment), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def runs(site):
    return json.loads(site.run("runs", "--json").stdout)["runs"]


# -- what may have happened in staging, and what production is told


def nothing(site):
    return "the journal has no run in staging"


def another_commit(site):
    deploy(site, "staging", "--set", f"commit={head(site, 'staging')}")
    return f"brought another commit ({head(site, 'staging')[:12]})"


def another_runbook(site):
    deploy(site, "staging")
    site.write(RUNBOOK.replace("broken", "quite-broken"))
    return "was made with another version of the runbook"


def a_step_left_out(site):
    deploy(site, "staging", "--skip", "check")
    return "left out some of the steps"


def another_plan_on_the_way(site):
    (site.copy() / "broken").touch()
    site.write(RUNBOOK.replace("staging: { ", "staging: { on_failure: stop, "))
    deploy(site, "staging")
    (site.copy() / "broken").unlink()
    site.write(RUNBOOK)
    assert site.run("deploy", "--resume", "--accept-plan").returncode == 0
    return "went on with another plan than it began with"


def too_long_ago(site):
    site.write(RUNBOOK.replace("1h", "1s"))
    deploy(site, "staging")
    time.sleep(1.1)
    return "more than 1.0 s"


def a_failure(site):
    (site.copy() / "broken").touch()
    assert deploy(site, "staging").returncode == 1
    return "ended as rolled_back"


def a_failure_that_nobody_has_dealt_with(site):
    (site.copy() / "broken").touch()
    site.write(RUNBOOK.replace("staging: { ", "staging: { on_failure: stop, "))
    assert deploy(site, "staging").returncode == 5
    return "ended as failed"


def a_success_taken_back(site):
    deploy(site, "staging")
    assert site.run("rollback", "--env", "staging", "--yes").returncode == 0
    return "ended as rolled_back"


@pytest.mark.parametrize(
    "happened",
    [
        nothing, another_commit, another_runbook, another_plan_on_the_way, a_step_left_out, too_long_ago, a_failure,
        a_failure_that_nobody_has_dealt_with, a_success_taken_back,
    ],
    ids=lambda happened: happened.__name__,
)  # fmt: skip
def test_production_is_refused_after(site, happened):
    why = happened(site)
    before = head(site, "production")
    made_in_staging = runs(site)

    done = deploy(site, "production")

    assert done.returncode == REFUSED
    assert "not promoted from staging: " in done.stdout
    assert why in done.stdout
    assert "→ Run 'deployguard deploy --env staging' with this commit and this runbook first." in done.stdout
    assert head(site, "production") == before
    assert [r["state"] for r in runs(site)] == [*(r["state"] for r in made_in_staging), "refused"]
    assert all(r["run"] in done.stdout for r in made_in_staging)


def test_production_follows_the_run_in_staging_and_says_which(site):
    assert deploy(site, "staging").returncode == 0

    done = deploy(site, "production")

    assert done.returncode == 0
    assert head(site, "production") == head(site, "staging")
    (promotion,) = json.loads(site.run("show", "--json").stdout)["checks"]
    assert promotion["summary"].startswith(f"run {runs(site)[0]['run']} brought the same commit and runbook to staging")


def test_comments_and_spaces_in_the_runbook_are_not_another_version(site):
    deploy(site, "staging")
    site.write("# reviewed on Friday\n" + RUNBOOK.replace("name: bring-code", "name:   'bring-code'"))

    done = deploy(site, "production")

    assert done.returncode == 0


def test_a_refused_run_in_staging_takes_nothing_away_from_the_one_before(site):
    deploy(site, "staging")
    site.write(RUNBOOK.replace("steps:", "preflight: [{ uses: git.clean }]\nsteps:"))
    deploy(site, "staging")
    (site.copy() / "broken").touch()
    assert deploy(site, "staging").returncode == REFUSED

    done = deploy(site, "production")

    assert done.returncode == 0


def test_preflight_says_the_same_before_anybody_tries(site):
    done = site.run("preflight", "--env", "production", "--json")

    assert done.returncode == REFUSED
    (promotion,) = json.loads(done.stdout)["checks"]
    assert promotion["summary"] == "not promoted from staging: the journal has no run in staging"
    assert promotion["line"] == RUNBOOK.splitlines().index("    requires: { promoted_from: staging, within: 1h }") + 1


GATE = RUNBOOK.replace("requires: { promoted_from: staging, within: 1h }", "on_failure: stop").replace(
    "steps:", "steps:\n  - id: tried\n    uses: gate.promotion\n    with: { from: staging, within: 1h }"
)


def test_a_gate_waits_until_the_same_change_has_succeeded_elsewhere(site):
    site.write(GATE)
    before = head(site, "production")
    waiting = deploy(site, "production")
    assert waiting.returncode == WAITS
    assert "the journal has no run in staging" in waiting.stdout
    assert head(site, "production") == before
    assert deploy(site, "staging").returncode == 0

    assert site.run("deploy", "--resume", "--env", "production").returncode == 0

    assert head(site, "production") == head(site, "staging") != before


def test_a_gate_takes_no_other_change_for_this_one(site):
    another_commit(site)
    site.write(GATE)

    assert deploy(site, "production").returncode == WAITS


@pytest.mark.parametrize(("changed", "code"), [("otherwise: fail", 5), ("from: nowhere", 5)])
def test_a_gate_that_need_not_wait_fails(site, changed, code):
    given = changed if changed.startswith("from") else f"from: staging, {changed}"
    site.write(GATE.replace("from: staging", given))

    assert deploy(site, "production").returncode == code


def test_a_gate_before_a_run_is_refused_with_what_to_write(site):
    site.write(GATE.replace("steps:", "preflight: [{ uses: gate.promotion, with: { from: staging } }]\nsteps:", 1))

    done = deploy(site, "production")

    assert done.returncode == REFUSED
    assert "requires: { promoted_from: staging }" in done.stdout
