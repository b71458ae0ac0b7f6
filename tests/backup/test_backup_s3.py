"""Backups in S3-compatible storage: moto's server, asked by boto3 itself."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue

import pytest
from sites import change, fill, killed, names, rows
from storage import Meddler

from deployguard.backup.destinations import destination, s3, s3_upload, split
from deployguard.backup.find import backups, read_backup
from deployguard.backup.restore import restore
from deployguard.backup.sqlite import SqliteProduct
from deployguard.backup.stored import check
from deployguard.backup.take import Order, Store, take
from deployguard.clock import SystemClock
from deployguard.errors import ConnectionLost, Damaged, Refused, StepFailed, UsageError
from deployguard.secret import Secret

ORDER = Order("before", "production", run="r1", step="backup", reason="a test")
DUMP = "site/before/database.sqlite3"
MANIFEST = "site/before/manifest.json"
PEOPLE = "SELECT * FROM person ORDER BY id"
SOON = datetime.now(UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def there(bucket, home):
    """Open the destination again as a later process would."""

    def there(**given):
        return destination(f"s3://{bucket.name}/site/", base=home, staging=home / "drafts", **given)

    return there


@pytest.fixture
def store(there, key):
    return Store(there(), key, SystemClock())


@pytest.fixture
def meddler(storage_server, monkeypatch):
    meddler = Meddler(storage_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", meddler.url)
    yield meddler
    meddler.close()


@pytest.fixture
def large(home):
    """A database whose dump goes in three parts."""
    path = home / "large.db"
    fill(path)
    for n in range(100, 112):
        change(path, f"INSERT INTO person (id, photo) VALUES ({n}, randomblob(1000000))")
    return SqliteProduct(path)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(s3_upload, "_PART", 5 * 2**20)
    monkeypatch.setattr(s3_upload, "_AT_ONCE", 1)


@pytest.fixture
def again(store, there):
    """The same storage, as another process sees it."""
    return lambda: replace(store, destination=there())


def killed_at(meddler, wanted, work):
    """Do the work in a process that is killed when it makes such a request, which nobody answers; True if it was."""
    child = SimpleQueue()
    meddler.asked.clear()

    def meddle(_method, path, body):
        if not wanted(path):
            return body
        os.kill(child.get(), signal.SIGKILL)  # it may ask before we have been told its number
        return 500, b""

    meddler.meddle = meddle
    try:
        return killed(work, started=child.put)
    finally:
        meddler.meddle = lambda _method, _path, body: body
        meddler.asked.clear()


def sent_parts(meddler):
    return [int(re.search(r"partNumber=(\d+)", path)[1]) for method, path, _ in meddler.asked if "partNumber" in path]


def left_on_this_machine(store):
    return names(store.destination.staging)


def test_a_backup_in_a_bucket_is_taken_listed_and_restored(product, store, there, bucket, site, backup):
    before = rows(site, PEOPLE)
    change(site, "DELETE FROM person")
    store = replace(store, destination=there())

    restore(product, read_backup(store.destination, "before", store.key), store)

    assert rows(site, PEOPLE) == before
    assert bucket.held() == [DUMP, MANIFEST]
    assert backup.manifest.state == "restored"
    assert backup.where == f"s3://{bucket.name}/site/before"
    assert [b.manifest.id for b in backups(store.destination, store.key)] == ["before"]
    assert left_on_this_machine(store) == []


def test_what_this_machine_has_no_room_for_is_not_fetched(product, store, backup):
    stored = replace(backup.manifest.stored, bytes=2**60)
    large = replace(backup, manifest=replace(backup.manifest, stored=stored))

    with pytest.raises(Refused, match="the backup's files"):
        restore(product, large, store)


def test_the_name_of_a_backup_leads_back_to_it(backup, home, store):
    to, name = split(backup.where)

    again = destination(to, base=home, staging=home / "drafts")

    assert read_backup(again, name, store.key).sha256 == backup.sha256


def test_only_encrypted_bytes_leave_the_machine(product, store, bucket):
    import pyrage

    identity = pyrage.x25519.Identity.generate()

    backup = take(product, store, replace(ORDER, recipients=(str(identity.to_public()),)))

    assert "Zoë".encode() not in bucket.get(f"{DUMP}.zst.age")
    restore(product, backup, store, [identity])


def test_a_backup_of_that_name_is_never_overwritten(product, store, backup, bucket):
    with pytest.raises(Refused, match="already"):
        take(product, store, ORDER)

    assert json.loads(bucket.get(MANIFEST))["manifest"]["ended_at"] == backup.manifest.ended_at


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda b: b.put(DUMP, bytes([b.get(DUMP)[0] ^ 1]) + b.get(DUMP)[1:]), "was changed"),
        (lambda b: b.put(DUMP, b.get(DUMP)[:-1]), "bytes long"),
        (lambda b: b.client.delete_object(Bucket=b.name, Key=DUMP), "lacks database"),
        (lambda b: b.put(f"{DUMP}-wal", b"x"), "foreign files"),
        (lambda b: b.put("site/before/../evil", b"x"), "foreign files"),
        (lambda b: b.put(MANIFEST, b.get(MANIFEST).replace(b'"r1"', b'"r2"')), "manifest that was changed"),
        (lambda b: b.client.delete_object(Bucket=b.name, Key=MANIFEST), "no manifest"),
        (lambda b: b.put(MANIFEST, b""), "manifest that was changed"),
    ],
)
def test_damage_in_the_bucket_is_refused_before_the_first_write(damage, said, product, store, backup, bucket, site):
    before = site.read_bytes()
    damage(bucket)

    with pytest.raises(Damaged, match=said):
        restore(product, read_backup(store.destination, "before", store.key), store)

    assert site.read_bytes() == before
    assert left_on_this_machine(store) == []


def test_another_backup_under_this_name_is_refused(product, store, backup, bucket):
    take(product, store, replace(ORDER, id="after"))
    for file in (DUMP, MANIFEST):
        bucket.put(file, bucket.get(file.replace("before", "after")))

    with pytest.raises(Damaged, match="another backup"):
        read_backup(store.destination, "before", store.key)


def test_what_storage_spoils_is_found_by_reading_it_back_and_sent_again(product, store, bucket, meddler):
    def spoil(method, path, body):
        return body[:-1] + bytes([body[-1] ^ 1]) if "partNumber" in path else body

    meddler.meddle = spoil
    with pytest.raises(StepFailed, match="other bytes than it was given"):
        take(product, store, ORDER)
    assert bucket.held() == []
    meddler.meddle = lambda _method, _path, body: body

    backup = take(product, store, ORDER)

    assert len(bucket.get(DUMP)) == backup.manifest.stored.bytes
    assert left_on_this_machine(store) == []


def test_a_backup_that_was_finished_and_not_sent_is_sent_and_not_taken_again(product, store, site, meddler):
    meddler.meddle = lambda _, path, body: (503, b"") if "partNumber" in path else body
    with pytest.raises(StepFailed, match="could not do it now"):
        take(product, store, ORDER)
    change(site, "DELETE FROM person")
    meddler.meddle = lambda _method, _path, body: body

    backup = take(product, store, ORDER)

    assert backup.manifest.rows["person"] == 50


def test_after_a_kill_only_the_parts_that_are_missing_are_sent(large, store, meddler, small_parts, again, bucket):
    assert killed_at(meddler, lambda path: "partNumber=3" in path, lambda: take(large, again(), ORDER))
    assert store.destination.names() == []
    assert len(bucket.uploads()) == 1

    backup = take(large, again(), ORDER)

    assert sent_parts(meddler) == [3]
    assert bucket.uploads() == []
    restore(large, backup, store)


def test_parts_of_a_draft_that_is_gone_are_never_mixed_in(large, store, meddler, small_parts, bucket):
    meddler.meddle = lambda _, path, body: (403, b"") if "partNumber=3" in path else body
    with pytest.raises(Refused):
        take(large, store, ORDER)
    (draft,) = store.destination.staging.iterdir()
    (draft / "manifest.json").unlink()
    meddler.meddle = lambda _method, _path, body: body
    meddler.asked.clear()

    backup = take(large, store, ORDER)

    assert sent_parts(meddler) == [1, 2, 3]
    restore(large, backup, store)


def test_a_kill_at_any_request_leaves_a_whole_backup_or_none_and_is_made_good_by_the_next(
    product, store, meddler, again, bucket
):
    points = 0

    def is_next(_path):
        return len(meddler.asked) == points + 1

    while killed_at(meddler, is_next, lambda: take(product, again(), ORDER)):
        points += 1
        if not (there := list(backups(store.destination, store.key))):
            there = [take(product, again(), ORDER)]
        assert there[0].manifest.state == "restored"
        with there[0].files(store.pulse) as files:
            check(files, store.pulse)
        assert bucket.uploads() == []
        store.destination.remove("before")
        assert bucket.held() == []

    assert points >= 12
    assert left_on_this_machine(store) == []


def test_a_download_that_breaks_off_goes_on_where_it_was(large, store, meddler):
    backup, before = take(large, store, ORDER), rows(large.path, PEOPLE)
    change(large.path, "DELETE FROM person")
    meddler.asked.clear()
    meddler.cut = 7_000_000

    restore(large, backup, store)

    ranges = [headers["Range"] for _, path, headers in meddler.asked if "Range" in headers]
    assert ranges[0] == "bytes=0-"
    assert len(ranges) == 2
    assert int(ranges[1][6:-1]) > 5_000_000
    assert rows(large.path, PEOPLE) == before


def test_a_download_that_never_goes_on_is_given_up(product, store, backup, meddler, site, again):
    before = site.read_bytes()

    def cut_each(method, path, body):
        meddler.cut = 0 if DUMP in path else None
        return body

    meddler.meddle = cut_each
    with pytest.raises(ConnectionLost, match="went away"):
        restore(product, read_backup(again().destination, "before", store.key), store)

    assert site.read_bytes() == before


def test_it_is_locked_until_it_expires_once_it_was_read_back(product, store, there, bucket, key, home):
    bucket.client.create_bucket(Bucket=f"{bucket.name}-locks", ObjectLockEnabledForBucket=True)
    locks = destination(
        f"s3://{bucket.name}-locks/site", base=home, staging=home / "drafts", env={}, lock="compliance"
    )  # fmt: skip

    backup = take(product, Store(locks, key, SystemClock()), ORDER)

    for file in (DUMP, MANIFEST):
        head = bucket.client.head_object(Bucket=f"{bucket.name}-locks", Key=file)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert abs(head["ObjectLockRetainUntilDate"] - datetime.fromisoformat(backup.manifest.expires)) < SECOND
    with pytest.raises(Refused, match="s3:DeleteObjectVersion was refused") as caught:
        locks.remove("before")
    assert "lock has run out" in caught.value.hint
    assert locks.names() == ["before"]


def test_a_bucket_that_does_not_lock_is_refused_before_anything_is_dumped(product, there, key):
    store = Store(there(lock="governance"), key, SystemClock(), pulse=lambda *_: pytest.fail("something was read"))

    with pytest.raises(Refused, match="does not lock objects"):
        take(product, store, ORDER)

    assert left_on_this_machine(store) == []


def test_what_is_destroyed_is_gone_in_every_version_and_nothing_else(product, store, bucket):
    versioning = {"Status": "Enabled"}
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration=versioning)
    take(product, store, ORDER)
    bucket.put(DUMP, b"another version")
    bucket.client.delete_object(Bucket=bucket.name, Key=DUMP)
    bucket.put("site/before/notes.txt", b"somebody else's")
    bucket.put("site/beforehand/database.x", b"somebody else's")

    store.destination.remove("before")

    assert sorted(v["Key"] for v in bucket.versions()) == ["site/before/notes.txt", "site/beforehand/database.x"]


def test_a_kill_while_it_is_destroyed_leaves_nothing_that_could_pass_for_a_backup(
    product, store, meddler, again, bucket, key
):
    points = 0

    def is_next(_path):
        return len(meddler.asked) == points + 1

    take(product, store, ORDER)
    while killed_at(meddler, is_next, lambda: again().destination.remove("before")):
        points += 1
        for found in backups(store.destination, key):
            with found.files(store.pulse) as files:
                check(files, store.pulse)
        store.destination.remove("before")
        take(product, store, ORDER)

    assert points >= 4
    assert bucket.held() == []


def test_storage_that_keeps_no_versions_is_asked_for_its_keys(product, store, backup, bucket, meddler, there):
    said = b"<Error><Code>NotImplemented</Code></Error>"
    meddler.meddle = lambda _, path, body: (501, said) if "versions" in path else body

    there().remove("before")

    assert bucket.held() == []


def test_what_nobody_has_finished_within_a_week_is_named_and_can_be_removed(store, bucket, there):
    bucket.put("site/cut/database.pgdump", b"half")
    bucket.put("site/photos/cat.png", b"somebody else's")
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="site/begun/database.sql")  # moto's are of 2010
    (store.destination.staging / "draft.partial").mkdir(parents=True)

    assert store.destination.unfinished(SOON) == ["begun", "draft"]
    assert store.destination.unfinished(SOON + timedelta(days=8)) == ["begun", "cut", "draft"]
    for name in ("begun", "cut", "draft"):
        there().remove(name)
    assert bucket.uploads() == []
    assert bucket.held() == ["site/photos/cat.png"]
    assert left_on_this_machine(store) == []


def test_a_draft_that_somebody_is_writing_is_not_left_by_anybody(product, store):
    seen = []

    def look(*_):
        seen.append(store.destination.unfinished(SOON))

    take(product, replace(store, pulse=look), ORDER)

    assert {tuple(names) for names in seen} == {()}


def _answer(status, code):
    return lambda *_: (status, f"<Error><Code>{code}</Code></Error>".encode())


@pytest.mark.parametrize(
    ("meddle", "error", "said", "hint"),
    [
        (_answer(404, "NoSuchBucket"), Refused, "no such bucket", "AWS_ENDPOINT_URL_S3"),
        (_answer(403, "InvalidAccessKeyId"), Refused, "credentials are not accepted", "Renew"),
        (_answer(403, "AccessDenied"), Refused, "s3:ListBucket was refused", "Allow s3:ListBucket"),
        (_answer(503, "SlowDown"), StepFailed, "could not do it now", "later"),
    ],
)
def test_what_storage_refuses_is_said_with_what_to_do(meddle, error, said, hint, product, store, meddler, monkeypatch):
    monkeypatch.setattr(s3, "_TRIES", 1)
    meddler.meddle = meddle

    with pytest.raises(error, match=said) as caught:
        take(product, store, ORDER)

    assert hint in caught.value.hint


def test_a_right_to_write_that_is_missing_is_said_before_anything_is_dumped(product, store, meddler):
    meddler.meddle = lambda method, _, body: _answer(403, "AccessDenied")() if method == "POST" else body
    silent = replace(store, pulse=lambda *_: pytest.fail("something was read"))

    with pytest.raises(Refused, match="s3:PutObject was refused"):
        take(product, silent, ORDER)


def test_storage_that_does_not_answer_is_a_lost_connection(product, store, monkeypatch):
    monkeypatch.setattr(s3, "_TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(ConnectionLost, match="cannot be reached"):
        take(product, store, ORDER)


def test_without_credentials_nothing_is_tried(product, store, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    with pytest.raises(Refused, match="NoCredentials") as caught:
        take(product, store, ORDER)

    assert "env:" in caught.value.hint


def test_declared_secrets_come_before_the_credentials_of_the_machine(product, there, key, meddler, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMACHINE")
    env = {
        "AWS_ACCESS_KEY_ID": "AKIADECLARED", "AWS_SECRET_ACCESS_KEY": Secret("sw0rdfish", name="storage"),
        "AWS_ENDPOINT_URL_S3": meddler.url,
    }  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    take(product, Store(there(env=env), key, SystemClock()), ORDER)

    assert meddler.asked
    assert all("AKIADECLARED" in headers["Authorization"] for _, _, headers in meddler.asked)
    assert "sw0rdfish" not in repr(there(env=env)) + str(meddler.asked)


@pytest.mark.parametrize("to", ["s3://", "s3:///prefix", "s3://Not_A_Bucket/x", "gs://bucket/x"])
def test_a_place_that_is_none_is_refused(to, home):
    with pytest.raises(UsageError):
        destination(to, base=home, staging=home)


def test_without_boto3_it_is_said_what_to_install(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(Refused) as caught:
        destination("s3://bucket/x", base=home, staging=home)

    assert "deployguard[aws]" in caught.value.hint


def test_memory_stays_flat_whatever_the_size(bucket, home, key):
    script = """
        import resource, sys
        from pathlib import Path
        from deployguard.backup.destinations import destination, s3_upload
        from deployguard.backup.manifest import Manifest, Stored, write
        from deployguard.backup.base import Facts
        from deployguard.backup.seal import operator_key
        from deployguard.databases.base import Identity
        import hashlib

        home, size = Path(sys.argv[2]), int(sys.argv[3])
        there = destination(sys.argv[1], base=home, staging=home / "drafts")
        draft = home / "drafts" / f"b{size}.partial"
        draft.mkdir(parents=True, mode=0o700, exist_ok=True)
        digest = hashlib.sha256()
        with (draft / "database.sql").open("wb") as stream:
            for n in range(size):
                block = n.to_bytes(4, "big") * 2**18
                digest.update(block)
                stream.write(block)
        bytes_ = size * 2**20
        stored = Stored("database.sql", bytes_, digest.hexdigest(), bytes_, digest.hexdigest())
        manifest = Manifest(
            id=f"b{size}", run="", step="", environment="e", state="written",
            identity=Identity("sqlite", "3", "host", "site.db", "1"), client_version="3", position="",
            taken_at="2026-01-01T00:00:00Z", ended_at="", expires="2026-04-01T00:00:00Z", reason="", recipients=(),
            stored=stored, facts=Facts("", {}),
        )
        write(draft, manifest, operator_key(home, make=True))
        there.names()
        s3_upload._PART = 80 * 2**20  # as for a dump of 800 GiB
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        there.publish(draft, manifest, lambda *_: None)
        with there.files(manifest, lambda *_: None):
            pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """

    def peak(size):
        argv = [sys.executable, "-c", textwrap.dedent(script), f"s3://{bucket.name}/m", str(home), str(size)]
        return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    small, big = peak(8), peak(160)

    assert big < 64 * 1024, "KiB over what it began with"
    assert big - small < 32 * 1024
