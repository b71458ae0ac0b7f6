"""The deployment guide, by the runbook at the top of this repository, on the sample site of `make demo`.

What the databases hold is read by sqlite3 and opened by cryptography alone; nothing of
deployguard judges itself here.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

from cryptography.fernet import Fernet, InvalidToken
from guide_site import COLUMNS, QUICK, ROOT, copy_of


def assert_encrypted(before, after, key):
    """Each value is the former one, sealed once; tokens, NULL and every other column are untouched."""
    assert after.keys() == before.keys()
    for (table, pk), row in before.items():
        for column, (old, kind) in row.items():
            new, new_kind = after[table, pk][column]
            if column not in COLUMNS.get(table, ()) or old is None or is_token(old, key):
                assert new == old, (table, pk, column)
            elif old == b"":
                assert new == b"" or key.decrypt(new) == b"", (table, pk, column)
            else:
                assert new_kind == "text"
                assert key.decrypt(new) == old, (table, pk, column)
            assert (old is None) == (new is None) or kind == "null"


def is_token(value, key):
    try:
        key.decrypt(value)
    except InvalidToken:
        return False
    return True


def test_every_value_of_staging_is_sealed_once_and_nothing_else_has_changed(staged):
    site, before = staged

    after = site.rows("staging")

    assert sum(len(row) for row in before.values()) > 100_000
    assert_encrypted(before, after, site.key("staging"))


def test_the_application_reads_what_was_encrypted(staged):
    site, before = staged
    ask = "from web.models import Profile\nprint(Profile.objects.order_by('pk').values_list('email', flat=True)[7])"

    done = subprocess.run(
        [".venv/bin/python", "manage.py", "shell", "--no-imports", "--command", ask],
        cwd=site.root / "demo/staging", capture_output=True, text=True, check=True,
        env={"MESSAGE_ENCRYPTION_KEY": (site.root / "demo/keys/staging.key").read_text().strip(), "PATH": os.defpath},
    )  # fmt: skip

    eighth = sorted(pk for table, pk in before if table == "web_profile")[7]
    stored = before["web_profile", eighth]["email"][0]
    key = site.key("staging")
    expected = None if stored is None else key.decrypt(stored) if is_token(stored, key) else stored
    assert done.stdout.rstrip("\n") == str(expected.decode() if expected is not None else None)


def test_production_killed_in_the_middle_of_encrypting_is_finished_and_then_taken_back(site):
    before, place = site.rows("production"), site.place("production")

    kill_when(site, encrypting, "deploy", "--env", "production", "--yes", *QUICK)
    half = site.rows("production")
    code, said = site.run("deploy", "--resume", "--env", "production")

    assert half != before
    assert code == 0, said
    assert_encrypted(before, site.rows("production"), site.key("production"))
    assert site.place("production")["migrations"] != place["migrations"]

    kill_when(site, decrypting, "rollback", "--env", "production", "--yes")
    code, said = site.run("rollback", "--env", "production", "--yes")

    assert code == 0, said
    assert site.rows("production") == before
    assert site.place("production") == place


def test_production_killed_at_random_moments_ends_as_if_it_had_not_been(site):
    before = site.rows("production")
    seed = int(os.environ.get("DEPLOYGUARD_SEED", time.time()))
    print(f"DEPLOYGUARD_SEED={seed}")
    moments = random.Random(seed)

    arguments = ["deploy", "--env", "production", "--yes", *QUICK]
    for _ in range(4):
        process = site.start(*arguments)
        time.sleep(moments.uniform(0.3, 6.0))
        end(process)
        if not any("production" in line and "succeeded" not in line for line in runs(site)):
            continue  # nothing was on record yet, or all was done
        arguments = ["deploy", "--resume", "--env", "production"]
    code, said = site.run(*arguments)

    assert code == 0 or "there is no unfinished run" in said, said
    assert_encrypted(before, site.rows("production"), site.key("production"))


def test_production_is_taken_back_by_restoring_the_backup(site):
    before, place = site.rows("production"), site.place("production")
    site.deploy("production")

    code, said = site.run("rollback", "--env", "production", "--via", "restore", "--confirm", "db.sqlite3")

    assert code == 0, said
    assert site.rows("production") == before
    # the fence stays: whoever was stopped before the restore must stay shut out after it
    assert site.place("production") == {**place, "ours": [("deployguard_fence",)]}


def test_the_way_back_that_is_recommended_depends_on_the_key(site):
    before, place = site.rows("production"), site.place("production")
    site.deploy("production")
    key = site.root / "demo/keys/production.key"
    good, encrypted, deployed = key.read_bytes(), site.rows("production"), site.place("production")
    key.write_bytes(Fernet.generate_key() + b"\n")

    code, said = site.run("rollback", "--env", "production", "--yes")

    assert code == 3, said
    assert "recommended: --via restore" in said
    assert "encrypt: no key opens tokens that stand in web_profile.first_name" in said
    assert "--via restore" in said.split("hint:")[1]
    assert site.rows("production") == encrypted
    assert site.place("production") == deployed
    key.write_bytes(good)

    code, said = site.run("rollback", "--env", "production", "--yes")

    assert code == 0, said
    assert "recommended: --via decrypt, since migrate, encrypt and new-data can be undone in place" in said
    assert site.rows("production") == before
    assert site.place("production") == place


def runs(site):
    return site.run("runs")[1].splitlines()


def kill_when(site, begun, *arguments):
    process = site.start(*arguments)
    until = time.monotonic() + 120
    while not begun(site):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.005)
    end(process)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def encrypting(site):
    return _rows_changed(site, "%/encrypt")


def decrypting(site):
    return _rows_changed(site, "%/undo")


def _rows_changed(site, operation):
    with site.database("production") as connection:
        try:
            found = connection.execute(
                "SELECT 1 FROM deployguard_checkpoint WHERE operation LIKE ? AND changed > 0", [operation]
            )
        except sqlite3.OperationalError:
            return False
        return found.fetchone() is not None


def test_a_key_is_rotated_and_back_by_the_rotation_runbook(staged, tmp_path):
    site, old, new = copy_of(staged[0], tmp_path / "a clone"), staged[0].key("staging"), Fernet.generate_key()
    root = site.root
    shutil.copy(ROOT / "examples/rotate-key/runbook.yaml", root / "rotate.yaml")
    env = {
        "NEW_ENCRYPTION_KEY": new.decode(), "PATH": os.environ["PATH"],
        "MESSAGE_ENCRYPTION_KEY": (root / "demo/keys/staging.key").read_text().strip(),
        "PRODUCTION_DIRECTORY": str(root / "demo/staging"), "DEPLOYGUARD_RUNBOOK": "rotate.yaml",
        "DATABASE_URL": f"sqlite:///{root}/demo/staging/db.sqlite3".replace(" ", "%20"),
    }  # fmt: skip
    before = site.rows("staging")

    def deployguard(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "deployguard", *arguments],
            cwd=root,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    done = deployguard("deploy", "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    rotated = site.rows("staging")
    for (table, pk), row in before.items():
        for column, (value, _) in row.items():
            if value is not None and is_token(value, old):
                assert Fernet(new).decrypt(rotated[table, pk][column][0]) == old.decrypt(value)
            else:
                assert rotated[table, pk][column][0] == value

    done = deployguard("rollback", "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    back = site.rows("staging")
    for (table, pk), row in before.items():
        for column, (value, _) in row.items():
            found = back[table, pk][column][0]
            assert found == value or old.decrypt(found) == old.decrypt(value)


def test_the_way_back_of_a_run_survives_the_way_back_of_a_later_one(site):
    before = site.rows("production")
    site.deploy("production")
    run = next(line.split()[0] for line in runs(site) if line.startswith("production"))

    assert site.run("data", "encrypt", "--env", "production", "--yes")[0] == 0
    assert site.run("rollback", "--env", "production", "--yes")[0] == 0
    code, said = site.run("rollback", run, "--env", "production", "--yes")

    assert code == 0, said
    assert site.rows("production") == before


def test_a_trial_by_hand_encrypts_no_more_rows_than_asked_for_and_is_taken_back(site):
    site.deploy("production")
    assert site.run("data", "decrypt", "--env", "production", "--yes")[0] == 0
    before, fernet = site.rows("production"), site.key("production")

    code, said = site.run(
        "data", "encrypt", "--env", "production", "--yes", "--where", "web_profile.id <= 2000", "--limit", "100"
    )

    assert code == 0, said
    after = site.rows("production")
    changed = {place for place, row in after.items() if row != before[place]}
    assert len(changed) == 100
    assert {table for table, _ in changed} == {"web_profile"}
    assert all(pk <= 2000 for _, pk in changed)
    for place in changed:
        for column, (value, _) in after[place].items():
            assert value == before[place][column][0] or fernet.decrypt(value) == before[place][column][0]
    assert site.run("rollback", "--env", "production", "--yes")[0] == 0
    assert site.rows("production") == before


def test_after_scrub_the_file_holds_no_former_value(site):
    site.deploy("production")
    fernet = site.key("production")
    said_by = {
        fernet.decrypt(value) for row in site.rows("production").values() for value, _ in row.values()
        if isinstance(value, bytes) and value.startswith(b"gAAAA") and len(value) > 100
    }  # fmt: skip

    code, said = site.run("data", "scrub", "--env", "production", "--yes")

    assert code == 0, said
    assert "none of" in said, said
    content = (site.root / "demo/production/db.sqlite3").read_bytes()
    assert not [plain for plain in said_by if len(plain) > 12 and plain in content]
