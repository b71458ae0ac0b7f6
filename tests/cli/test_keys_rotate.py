"""`deployguard keys rotate` and `retire`: the guide's four steps, and nobody takes a key away that something needs.

What the database holds is read by sqlite3 and opened by cryptography, not by what is tested.
"""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from cryptography.fernet import Fernet, InvalidToken
from small_site import at_new_code, copied, new_key

REFUSED = 3
RUNBOOK = """\
version: 1
name: shop
vars: { who: site }
django:
  env:
    FIELD_ENCRYPTION_KEY: ${{ secrets.new_key }},${{ secrets.old_key }}
secrets:
  new_key: { from: env, name: NEW_KEY }
  old_key: { from: env, name: STAGING_MESSAGE_ENCRYPTION_KEY }
encryption:
  keys: [new_key, old_key]
  rotation:
    every: 180d
    add: { run: [sh, -c, 'printf "%s,%s" "$KEYS" "$WHO" > ../added'], env: { KEYS: "${{ secrets.new_key }},${{ secrets.old_key }}", WHO: "${{ vars.who }}" } }
    remove: { run: 'printf "%s" "$KEYS" > ../removed', shell: true, env: { KEYS: "${{ secrets.new_key }}" } }
environments:
  staging: { directory: staging, database: "sqlite:///staging/db.sqlite3" }
"""
BEFORE = (
    RUNBOOK.replace("${{ secrets.new_key }},${{ secrets.old_key }}", "${{ secrets.old_key }}")
    .replace("[new_key, old_key]", "[old_key]")
    .partition("  rotation:")[0]
    + RUNBOOK[RUNBOOK.index("environments:") :]
)
COLUMNS = {"web_profile": ["email", "first_name"], "web_donation": ["email"]}


@pytest.fixture(scope="session")
def encrypted_site(pristine_site, tmp_path_factory):
    site = copied(pristine_site, tmp_path_factory.mktemp("encrypted") / "site")
    at_new_code(site)
    site.write(BEFORE)
    done = site.run("data", "encrypt", "--env", "staging", "--yes", "--without-backup", "a test")
    assert done.returncode == 0, done.stderr
    site.write(RUNBOOK)
    return site


@pytest.fixture
def site(encrypted_site, tmp_path):
    site = copied(encrypted_site, tmp_path / "site")
    site.env["NEW_KEY"] = new_key()
    return site


def keys(site, verb, *arguments, code=0):
    done = site.run("keys", verb, "--env", "staging", "--yes", *arguments)
    print(done.stdout, done.stderr)
    assert done.returncode == code
    return done.stdout + done.stderr


def tokens(site):
    """How many tokens each of the two keys opens."""
    new, old = Fernet(site.env["NEW_KEY"]), Fernet(site.key())
    found = {"new": 0, "old": 0}
    with closing(sqlite3.connect(site.database())) as connection:
        for table, columns in COLUMNS.items():
            for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                for value in filter(None, row):
                    found["new" if opens(new, value) else "old" if opens(old, value) else "none"] += 1
    return found


def opens(key, token):
    try:
        key.decrypt(token)
    except InvalidToken:
        return False
    return True


def take_backup(site):
    done = site.run("backup", "create", "--env", "staging", "--reason", "the disk is encrypted", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_four_steps_of_the_guide_by_one_command(site):
    before = tokens(site)

    said = keys(site, "rotate")

    assert (before["new"], tokens(site)) == (0, {"new": before["old"], "old": 0})
    assert (site.root / "added").read_text() == f"{site.env['NEW_KEY']},{site.key()},site"
    assert (site.root / "removed").read_text() == site.env["NEW_KEY"]
    assert "nothing needs old_key" in said
    assert site.key() not in said
    assert "rotate-keys → staging" in said


def test_asked_for_nothing_but_the_plan_it_changes_nothing(site):
    before = site.untouchable()

    said = keys(site, "rotate", "--dry-run")

    assert "tokens are under an older key" in said
    assert site.untouchable() == before
    assert not (site.root / "added").exists()


def test_a_kept_backup_keeps_the_old_key_and_is_named_with_its_end(site):
    site.write(BEFORE)
    backup = take_backup(site)
    site.write(RUNBOOK)

    said = keys(site, "rotate")

    assert tokens(site)["old"] == 0
    assert f"the backup {backup['backup']} needs old_key until {backup['expires'][:10]}" in said
    assert not (site.root / "removed").exists()

    said = keys(site, "retire", code=REFUSED)
    assert "an old key is still needed" in said
    assert "deployguard backup prune" in said
    assert not (site.root / "removed").exists()

    # one taken meanwhile, with both keys in the list, needs only what its tokens are under
    take_backup(site)
    shutil.rmtree(site.home / "backups" / backup["backup"])
    keys(site, "retire")
    assert (site.root / "removed").read_text() == site.env["NEW_KEY"]


def test_a_backup_that_is_taken_on_the_way_needs_both_keys(site):
    assert len(take_backup(site)["keys"]) == 2
    keys(site, "rotate")
    assert len(take_backup(site)["keys"]) == 1


def test_a_backup_that_nobody_can_read_keeps_it_too(site):
    backup = take_backup(site)
    manifest = site.home / "backups" / backup["backup"] / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")

    said = keys(site, "rotate")

    assert "so nobody knows which key it needs" in said
    assert not (site.root / "removed").exists()


def test_rows_keep_it(site):
    said = keys(site, "retire", code=REFUSED)

    assert "tokens are under old_key" in said
    assert "deployguard keys rotate" in said


def test_a_single_row_that_old_code_wrote_meanwhile_keeps_it(site):
    keys(site, "rotate")
    (site.root / "removed").unlink()
    late = Fernet(site.key()).encrypt(b"late@example.org").decode()
    with closing(sqlite3.connect(site.database())) as connection, connection:
        connection.execute("UPDATE web_donation SET email = ? WHERE id = (SELECT min(id) FROM web_donation)", [late])

    assert "1 tokens are under old_key" in keys(site, "retire", code=REFUSED)
    assert not (site.root / "removed").exists()


def test_another_environment_that_uses_it_keeps_it(site):
    site.write(
        RUNBOOK
        + "  production: { secrets: { new_key: { from: env, name: PRODUCTION_KEY }, old_key: { from: env, name: NOT_THERE } } }\n"
    )
    site.env["PRODUCTION_KEY"] = site.key()
    assert "staging and production have the same key (old_key)" in keys(site, "rotate", code=REFUSED)

    site.write(
        site.runbook.read_text() + "preflight: [{ uses: key.check, with: { shared_with: [staging, production] } }]\n"
    )
    said = keys(site, "rotate")

    assert "production uses old_key as its new_key" in said
    assert not (site.root / "removed").exists()
    assert "Give production a key of its own." in keys(site, "retire", code=REFUSED)


def test_where_the_site_cannot_be_given_both_keys_nothing_is_rewritten_and_a_resume_goes_on(site):
    site.write(RUNBOOK.replace('\'printf "%s,%s"', '\'test -e ../mended && printf "%s,%s"'))
    before = tokens(site)

    keys(site, "rotate", code=5)
    assert tokens(site) == before

    (site.root / "mended").touch()
    done = site.run("deploy", "--resume", "--env", "staging")
    assert done.returncode == 0, done.stderr
    assert tokens(site)["old"] == 0
    assert (site.root / "removed").exists()


def test_without_commands_the_rows_are_rotated_and_the_rest_is_said(site):
    site.write(RUNBOOK.partition("    add:")[0] + RUNBOOK[RUNBOOK.index("environments:") :])

    assert "nothing needs old_key" in keys(site, "rotate")
    assert tokens(site)["old"] == 0
    keys(site, "retire")


@pytest.mark.parametrize("verb", ["rotate", "retire"])
def test_with_one_key_there_is_nothing_to_rotate_to_and_how_to_begin_is_said(site, verb):
    site.write(BEFORE)

    said = keys(site, verb, code=REFUSED)

    assert "the runbook names one key only, old_key" in said
    assert "deployguard keys generate" in said


def test_an_application_that_still_writes_with_the_old_key_is_refused(site):
    site.write(
        RUNBOOK.replace(
            "${{ secrets.new_key }},${{ secrets.old_key }}\n", "${{ secrets.old_key }},${{ secrets.new_key }}\n"
        )
    )

    said = keys(site, "rotate", code=5)

    assert "the application writes with an older key (old_key), not with new_key" in said
    assert tokens(site)["new"] == 0


def test_a_command_that_is_none_is_found_when_the_runbook_is_read(site):
    site.write(
        RUNBOOK.replace("shell: true, ", "shell: true, ").replace(
            'printf "%s" "$KEYS" > ../removed', "echo ${{ vars.who }}"
        )
    )

    done = site.run("check")

    assert done.returncode == 2
    assert "no expression may stand in the text of a shell command" in done.stderr


# -- when it is due


def rotation(site):
    done = site.run("preflight", "--env", "staging", "--json")
    [check] = [c for c in json.loads(done.stdout)["checks"] if c["id"] == "rotation"]
    return check


def test_preflight_says_since_when_the_key_is_in_use_and_when_it_is_due(site):
    new = rotation(site)
    keys(site, "rotate")
    rotated = rotation(site)
    site.write(RUNBOOK.replace("180d", "1ms"))
    late = rotation(site)

    assert (new["status"], rotated["status"], late["status"]) == ("pass", "pass", "warn")
    assert "is on record in no run of staging; it may be used for 180 days" in new["summary"]
    assert "it is due for rotation on 20" in rotated["summary"]
    assert "in 179 days" in rotated["summary"]
    assert "it was due for rotation on 20" in late["summary"]
    assert late["hint"] == "Make a new key, and run 'deployguard keys rotate --env staging'."
    assert RUNBOOK.splitlines()[late["line"] - 1].strip() == "every: 180d"


def test_the_age_of_a_key_counts_from_the_first_run_that_saw_it(site):
    site.write(BEFORE.replace("keys: [old_key]", "keys: [old_key]\n  rotation: { every: 180d }"))

    [run] = [line.split()[0] for line in site.run("runs").stdout.splitlines() if line.startswith("staging")]
    assert f"(run {run})" in rotation(site)["summary"]


def test_where_no_date_is_asked_for_none_is_shown(site):
    site.write(BEFORE)

    checks = json.loads(site.run("preflight", "--env", "staging", "--json").stdout)["checks"]
    assert "rotation" not in [check["id"] for check in checks]
