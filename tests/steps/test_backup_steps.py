"""`backup.create` and `backup.restore` as a runbook uses them, and `deployguard backup` beside them."""

import json
import os
import sqlite3
import textwrap

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from deployguard.backup.naming import MARK
from deployguard.cli.backup import app
from deployguard.clock import SystemClock
from deployguard.errors import ConnectionLost, Damaged, Refused, StepFailed, UsageError
from deployguard.journal.home import open_home
from deployguard.masking import Masker
from deployguard.secret import Secret
from deployguard.steps.backup_create import BackupCreate
from deployguard.steps.backup_restore import BackupRestore
from deployguard.steps.base import Context, Secrets, Target

RUNBOOK = """
version: 1
name: shop
vars: { database_url: "sqlite:///shop.db" }
environments:
  production: { database: "${{ vars.database_url }}" }
  staging: { database: "sqlite:///staging.db" }
steps:
  - id: backup
    uses: backup.create
    with: { plain_reason: the disk is encrypted }
    rollback: { uses: backup.restore, when: requested }
"""


def rows(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT * FROM person ORDER BY id").fetchall()
    finally:
        connection.close()


def change(path, statement):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


@pytest.fixture
def project(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "runbook.yaml").write_text(textwrap.dedent(RUNBOOK))
    for name in ("shop.db", "staging.db"):
        change(tmp_path / name, "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
        change(tmp_path / name, "INSERT INTO person VALUES (1, 'Ann'), (2, 'Bob')")
    return tmp_path


@pytest.fixture
def shop(project):
    return project / "shop.db"


@pytest.fixture
def private_key():
    import pyrage

    return pyrage.x25519.Identity.generate()


@pytest.fixture
def context(project, private_key):
    def context(run="run1", environment="production", before=None, url="sqlite:///shop.db"):
        target = Target(
            environment=environment, directory=project, project=project, home=open_home(project / ".deployguard"),
            secrets=Secrets({"backup_key": lambda: Secret(str(private_key), name="backup_key")}, {}),
            masker=Masker([]), clock=SystemClock(), database_url=url,
        )  # fmt: skip
        return Context(
            target=target, run=run, step="backup", fence=1, pulse=lambda _: None, run_command=lambda *_: None,
            before=before or {},
        )  # fmt: skip

    return context


@pytest.fixture
def deployguard(project):
    def deployguard(*words):
        result = CliRunner().invoke(app, [*words, "--runbook", str(project / "runbook.yaml"), "--json"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return json.loads(result.stdout[result.stdout.index("{") :]) | {"exit": result.exit_code}

    return deployguard


PLAIN = BackupCreate(plain_reason="the disk is encrypted")


def test_a_backup_goes_on_record_with_what_the_report_needs(context):
    outcome = PLAIN.execute(context())

    evidence = outcome.evidence
    assert evidence["state"] == "restored"
    assert evidence["rows"] == {"person": 2}
    assert evidence["path"] == ".deployguard/backups/run1-backup"
    assert (evidence["plaintext"], evidence["reason"]) == (True, "the disk is encrypted")
    assert outcome.outputs["sha256"] == evidence["manifest_sha256"]
    assert "2 rows of 1 tables" in outcome.summary


def test_the_step_is_done_once_the_backup_of_its_run_is_there(context):
    assert not PLAIN.is_done(context())

    PLAIN.execute(context())

    assert PLAIN.is_done(context())
    assert not PLAIN.is_done(context(run="run2"))
    assert not PLAIN.is_done(context(environment="staging"))


def test_a_backup_that_was_tried_less_than_asked_is_not_done(context):
    BackupCreate(plain_reason="x", verify="read").execute(context())

    assert not PLAIN.is_done(context())


def test_executing_again_after_a_crash_finds_the_finished_backup(context):
    first = PLAIN.execute(context())

    assert PLAIN.execute(context()).evidence == first.evidence


def test_looking_ahead_changes_nothing(context, project):
    ahead = context()
    before = sorted(os.walk(project))

    preview = PLAIN.preview(ahead)
    PLAIN.capture(ahead)
    PLAIN.is_done(ahead)

    assert preview.bytes > 0
    assert sorted(os.walk(project)) == before


def test_the_restore_of_a_run_takes_the_backup_of_that_run(context, shop):
    before = rows(shop)
    captured = PLAIN.capture(context())
    PLAIN.execute(context())
    change(shop, "UPDATE person SET name = 'token'")
    PLAIN.execute(context(run="run2"))

    outcome = BackupRestore().execute(context(before=captured))

    assert rows(shop) == before
    assert outcome.evidence["lost"] == {"person": "0 added, 2 changed, 0 removed"}
    assert rows(shop.parent / outcome.outputs["kept"]) == [(1, "token"), (2, "token")]


def test_restoring_twice_is_the_same_as_once(context, shop):
    before, captured = rows(shop), PLAIN.capture(context())
    PLAIN.execute(context())
    change(shop, "DELETE FROM person")

    BackupRestore().execute(context(before=captured))
    BackupRestore().execute(context(before=captured))

    assert rows(shop) == before


def test_a_restore_that_nobody_has_named_a_backup_for_is_refused(context):
    PLAIN.execute(context())

    with pytest.raises(Refused, match="which backup"):
        BackupRestore().execute(context())


def test_the_backup_of_another_environment_is_refused(context, shop):
    PLAIN.execute(context(environment="staging", url="sqlite:///staging.db"))
    before = shop.read_bytes()

    with pytest.raises(Refused, match="is of staging"):
        BackupRestore.model_validate({"from": ".deployguard/backups/run1-backup"}).execute(context())

    assert shop.read_bytes() == before


def test_an_encrypted_backup_is_restored_with_a_declared_secret(context, shop, private_key):
    before = rows(shop)
    step = BackupCreate(recipients=(str(private_key.to_public()),), one_recipient_reason="a test")
    captured = step.capture(context())
    assert step.execute(context()).evidence["state"] == "restored"
    change(shop, "DELETE FROM person")

    with pytest.raises(Refused, match="is encrypted"):
        BackupRestore().execute(context(before=captured))
    BackupRestore(identity="backup_key").execute(context(before=captured))

    assert rows(shop) == before


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"plain_reason": "  "},
        {"recipients": ["age1x"]},
        {"recipients": ["age1x", "age1x"]},
        {"recipients": ["age1x", "age1y"], "plain_reason": "both"},
    ],
)
def test_who_may_read_a_backup_is_said_in_the_runbook(given):
    with pytest.raises(ValidationError):
        BackupCreate.model_validate(given)


def test_an_environment_without_a_database_has_nothing_to_back_up(context):
    with pytest.raises(Refused, match="no database"):
        PLAIN.execute(context(url=None))


def test_a_pulse_that_stops_the_run_leaves_no_backup(context, project):
    def stop(_progress):
        raise StepFailed("stopped")

    from dataclasses import replace

    with pytest.raises(StepFailed):
        PLAIN.execute(replace(context(), pulse=stop))

    assert list((project / ".deployguard/backups").iterdir()) == []


def test_by_hand_a_backup_is_taken_as_the_runbook_says(deployguard):
    taken = deployguard("create", "--env", "production")

    assert taken["state"] == "restored"
    assert taken["rows"] == {"person": 2}
    assert taken["reason"] == "the disk is encrypted"
    assert {"backup", "database", "taken_at", "bytes", "manifest_sha256"} <= taken.keys()


def test_by_hand_it_may_be_encrypted_for_others(deployguard, private_key, project):
    public = str(private_key.to_public())
    with pytest.raises(UsageError, match="who may open"):
        deployguard("create", "--env", "production", "--recipient", public)
    (project / "key.txt").write_text(str(private_key))

    taken = deployguard("create", "--env", "production", "--recipient", public, "--reason", "a test")
    verified = deployguard("verify", taken["backup"], "--env", "production", "--identity", str(project / "key.txt"))

    assert taken["encrypted"]
    assert verified["backup"] == taken["backup"]


def test_by_hand_a_backup_is_restored_after_somebody_named_the_database(deployguard, shop):
    taken = deployguard("create", "--env", "production")
    change(shop, "INSERT INTO person VALUES (3, 'new')")

    with pytest.raises(Refused, match="nobody named the database"):
        deployguard("restore", taken["backup"], "--env", "production")
    assert len(rows(shop)) == 3
    done = deployguard("restore", taken["backup"][:15], "--env", "production", "--confirm", "shop.db")

    assert done["lost"] == {"person": {"added": 1, "changed": 0, "removed": 0}}
    assert rows(shop) == [(1, "Ann"), (2, "Bob")]


def test_the_list_names_damaged_ones_and_says_so_with_its_exit_code(deployguard, project):
    good, bad = deployguard("create", "--env", "production"), deployguard("create", "--env", "production")
    (project / bad["path"] / "manifest.json").write_text("{}")

    listed = deployguard("list", "--env", "production")

    assert [b["backup"] for b in listed["backups"]] == [good["backup"]]
    assert len(listed["damaged"]) == 1
    assert listed["exit"] == Damaged.exit_code
    with pytest.raises(Damaged):
        deployguard("verify", bad["backup"], "--env", "production")


def test_a_list_where_nothing_is_makes_nothing(deployguard, project):
    assert deployguard("list", "--env", "production")["backups"] == []
    assert not (project / ".deployguard").exists()


def test_pruning_shows_what_it_would_do_and_asks(deployguard, project):
    runbook = project / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("{ plain_reason:", "{ expires: 0s, plain_reason:"))
    old, last = deployguard("create", "--env", "production"), deployguard("create", "--env", "production")

    with pytest.raises(Refused, match="nobody said yes"):
        deployguard("prune", "--env", "production")
    assert (project / old["path"]).exists()
    done = deployguard("prune", "--env", "production", "--yes")

    assert [b["backup"] for b in done["destroyed"]] == [old["backup"]]
    assert not (project / old["path"]).exists()
    assert [b["backup"] for b in deployguard("list", "--env", "production")["backups"]] == [last["backup"]]


@pytest.fixture
def in_a_bucket(project, bucket, monkeypatch):
    """The runbook keeps its backups in a bucket, with credentials of their own."""
    runbook, url = project / "runbook.yaml", os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("STORAGE_KEY", "sw0rdfish-of-the-bucket")
    env = {
        "AWS_ENDPOINT_URL_S3": url, "AWS_ACCESS_KEY_ID": "AKIASTORAGE",
        "AWS_SECRET_ACCESS_KEY": "${{ secrets.storage }}",
    }  # fmt: skip
    text = runbook.read_text().replace("{ plain_reason:", f"{{ to: s3://{bucket.name}/shop, plain_reason:")
    text = text.replace("    rollback:", f"    env: {json.dumps(env)}\n    rollback:")
    text = text.replace("environments:", "secrets: { storage: { from: env, name: STORAGE_KEY } }\nenvironments:")
    runbook.write_text(text)
    return bucket


def test_in_a_bucket_every_command_works_as_in_a_folder(deployguard, in_a_bucket, shop):
    taken = deployguard("create", "--env", "production")
    change(shop, "INSERT INTO person VALUES (3, 'new')")

    verified = deployguard("verify", taken["backup"], "--env", "production")
    listed = deployguard("list", "--env", "production")
    restored = deployguard("restore", taken["backup"], "--env", "production", "--confirm", "shop.db")

    assert taken["path"] == f"s3://{in_a_bucket.name}/shop/{taken['backup']}"
    assert verified["manifest_sha256"] == taken["manifest_sha256"]
    assert [b["backup"] for b in listed["backups"]] == [taken["backup"]]
    assert rows(shop) == [(1, "Ann"), (2, "Bob")]
    assert restored["lost"] == {"person": {"added": 1, "changed": 0, "removed": 0}}


def test_what_is_pruned_of_a_bucket_is_gone(deployguard, in_a_bucket, project):
    runbook = project / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("{ to:", "{ expires: 0s, to:"))
    old, last = deployguard("create", "--env", "production"), deployguard("create", "--env", "production")

    done = deployguard("prune", "--env", "production", "--yes")

    assert [b["backup"] for b in done["destroyed"]] == [old["backup"]]
    assert all(last["backup"] in key for key in in_a_bucket.held())
    assert len(in_a_bucket.held()) == 2


def test_a_step_whose_storage_does_not_answer_cannot_tell_whether_it_is_done(context, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("deployguard.backup.destinations.s3._TRIES", 1)
    step = BackupCreate(to=f"s3://{bucket.name}/x", plain_reason="a test")

    assert step.is_done(context()) is None
    with pytest.raises(ConnectionLost):
        step.execute(context())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": "gs://bucket/x"}, "gs://"),
        ({"to": "backups", "object_lock": "governance"}, "object_lock"),
        ({"object_lock": "compliance"}, "object_lock"),
        ({"scratch_in": "postgresql://h/x", "verify": "read"}, "verify: read restores none"),
        ({"scratch_in": "postgresql://me:sw0rdfish@h/x"}, "keep the URL in a secret"),
        ({"scratch_in": "postgresql://me@h/x?password=sw0rdfish"}, "keep the URL in a secret"),
    ],
)
def test_where_backups_cannot_be_kept_or_tried_is_said_when_the_runbook_is_read(given, said):
    with pytest.raises(ValidationError, match=said):
        BackupCreate.model_validate({"plain_reason": "a test", **given})


@pytest.fixture
def tried_elsewhere(project, postgres, postgres_server, another_postgres_server, monkeypatch):
    """The runbook's database is on one server, and its backup is tried on another that wants a password."""
    postgres.run("CREATE TABLE person (id int PRIMARY KEY, name text)")
    postgres.run("INSERT INTO person VALUES (1, 'Ann'), (2, 'Bob')")
    another_postgres_server.run("CREATE ROLE trying SUPERUSER LOGIN PASSWORD 'sw0rdfish!'")
    url = another_postgres_server.url("postgres").replace("postgres@", "trying:sw0rdfish%21@")
    monkeypatch.setenv("PATH", f"{postgres_server.programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SCRATCH_URL", url)
    runbook = project / "runbook.yaml"
    text = runbook.read_text().replace("sqlite:///shop.db", postgres.url)
    text = text.replace("{ plain_reason:", "{ scratch_in: scratch, plain_reason:")
    runbook.write_text(
        text.replace("environments:", "secrets: { scratch: { from: env, name: SCRATCH_URL } }\nenvironments:")
    )
    yield another_postgres_server
    another_postgres_server.run("DROP ROLE trying")


def test_a_secret_names_the_server_that_it_is_tried_on_and_stays_one(deployguard, tried_elsewhere, project):
    taken = deployguard("create", "--env", "production")

    assert (taken["state"], taken["rows"]) == ("restored", {"person": 2})
    written = b"".join(path.read_bytes() for path in project.rglob("*") if path.is_file())
    assert b"sw0rdfish" not in written + json.dumps(taken).encode()


def test_the_report_says_where_it_was_tried(context, tried_elsewhere, postgres, another_postgres_server):
    step = BackupCreate(plain_reason="a test", scratch_in=another_postgres_server.url("postgres"))

    done = step.execute(context(url=postgres.url))

    assert f"restored once and compared, on {done.evidence['tried_on']}" in done.summary
    assert str(another_postgres_server.port) in done.evidence["tried_on"]


def test_what_is_not_there_is_said_before_the_run_and_nothing_is_written(
    context, tried_elsewhere, postgres, another_postgres_server, project
):
    postgres.run("CREATE ROLE reader; GRANT SELECT ON person TO reader")
    step = BackupCreate(plain_reason="a test", scratch_in=another_postgres_server.url("postgres"))

    for look in (step.preview, step.execute):
        with pytest.raises(Refused, match="there is no user 'reader'"):
            look(context(url=postgres.url))

    assert not list((project / ".deployguard/backups").glob("*"))
    postgres.run("DROP OWNED BY reader; DROP ROLE reader")


def test_a_killed_trial_on_another_server_is_tidied_up_by_the_rollback(
    context, tried_elsewhere, postgres, another_postgres_server
):
    scratch = '"deployguard_scratch-run1-backup"'
    another_postgres_server.run(f"CREATE DATABASE {scratch}")
    another_postgres_server.run(f"COMMENT ON DATABASE {scratch} IS '{MARK}'")
    step = BackupCreate(plain_reason="a test", scratch_in=another_postgres_server.url("postgres"))

    step.compensate(context(url=postgres.url))

    with another_postgres_server.connect() as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'deployguard%'").fetchall()
    assert left == []


def test_a_server_that_nobody_declared_and_one_for_a_file_are_refused(context):
    with pytest.raises(Refused, match="secret scratch is not declared"):
        BackupCreate(plain_reason="a test", scratch_in="scratch").execute(context())
    with pytest.raises(Refused, match="SQLite has no server") as caught:
        BackupCreate(plain_reason="a test", scratch_in="sqlite:///elsewhere.db").execute(context())

    assert "to: may name" in caught.value.hint
