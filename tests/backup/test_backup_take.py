import resource
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sites import ODD_NAME, at, change, fill, killed, names, rows, writing

from deployguard.backup.destinations.folder import Folder
from deployguard.backup.durable import remove
from deployguard.backup.find import backups, read_backup
from deployguard.backup.seal import operator_key
from deployguard.backup.sqlite import SqliteProduct, SqliteSnapshot
from deployguard.backup.take import Order, take
from deployguard.errors import DeployguardError, Refused, StepFailed

ORDER = Order("before", "production", run="r1", step="backup", reason="a test")
LEAST_FAULT_POINTS = 40


def test_a_backup_counts_every_row_and_has_been_restored(product, store):
    backup = take(product, store, ORDER)

    assert backup.manifest.state == "restored"
    assert backup.manifest.rows["person"] == 50
    assert backup.manifest.rows[ODD_NAME] == 50
    assert backup.manifest.rows["blank"] == 0
    assert names(at(backup)) == ["database.sqlite3", "manifest.json"]


def test_the_file_is_a_database_that_anybody_can_open_without_us(backup, site):
    copy = at(backup) / "database.sqlite3"

    for query in ("SELECT * FROM person", "SELECT * FROM people", "SELECT * FROM words", "PRAGMA user_version"):
        assert rows(copy, query) == rows(site, query)


def test_only_the_owner_can_read_any_of_it(backup):
    assert at(backup).stat().st_mode & 0o777 == 0o700
    assert {entry.stat().st_mode & 0o777 for entry in at(backup).iterdir()} == {0o600}


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_beside_a_live_writer_it_shows_one_moment_and_ends(home, store, journal):
    site = home / "live.db"
    fill(site, journal=journal)

    with writing(site) as writer:
        taken = [take(SqliteProduct(site), store, replace(ORDER, id=f"b{n}")) for n in range(5)]
        still_writing = writer.poll() is None

    assert still_writing
    for backup in taken:
        assert backup.manifest.rows["credit"] == backup.manifest.rows["debit"] > 0
        assert rows(
            at(backup) / "database.sqlite3", "SELECT (SELECT sum(amount) FROM credit) + sum(amount) FROM debit"
        ) == [(0,)]
    assert taken[-1].manifest.rows["credit"] > taken[0].manifest.rows["credit"]


def test_rows_that_stand_only_in_the_write_ahead_log_are_in_it(product, store, site):
    reader = sqlite3.connect(site)
    reader.execute("SELECT * FROM person").fetchall()
    change(site, "INSERT INTO blank VALUES (1)")
    assert site.with_name("site.db-wal").stat().st_size > 0

    backup = take(product, store, ORDER)

    assert backup.manifest.rows["blank"] == 1
    reader.close()


def test_a_kill_at_any_file_operation_leaves_a_whole_backup_or_none(product, store):
    points = 0
    while killed(lambda: take(product, store, ORDER), at_event=points + 1):
        points += 1
        for found in backups(store.destination, store.key):
            assert found.manifest.state == "restored"
            remove(at(found))

    assert points >= LEAST_FAULT_POINTS
    assert [b.manifest.id for b in backups(store.destination, store.key)] == ["before"]
    assert names(store.destination.path) == ["before"]


def test_a_backup_that_was_finished_and_not_named_is_named_by_the_next_try(product, store, site, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", _full)
        with pytest.raises(StepFailed):
            take(product, store, ORDER)
    assert names(store.destination.path) == ["before.partial"]
    change(site, "DELETE FROM person")

    backup = take(product, store, ORDER)

    assert backup.manifest.rows["person"] == 50
    assert names(store.destination.path) == ["before"]


def test_a_draft_that_was_damaged_meanwhile_is_made_anew(product, store, site, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", _full)
        with pytest.raises(StepFailed):
            take(product, store, ORDER)
    draft = store.destination.path / "before.partial" / "database.sqlite3"
    draft.write_bytes(draft.read_bytes()[:-1])
    change(site, "DELETE FROM person")

    assert take(product, store, ORDER).manifest.rows["person"] == 0


def _full(*_):
    raise OSError(28, "No space left on device")


def test_two_processes_never_write_one_draft(product, store):
    tried = []

    def another(*_):
        if not tried:
            tried.append(1)
            with pytest.raises(Refused, match="being written by another process"):
                take(product, replace(store, pulse=lambda *_: None), ORDER)

    assert take(product, replace(store, pulse=another), ORDER).manifest.state == "restored"
    assert tried


def test_what_a_killed_process_left_is_named_and_what_is_being_written_is_not(product, store):
    killed(lambda: take(product, store, ORDER), at_event=30)
    seen = []

    def look(*_):
        seen.append(store.destination.unfinished(store.clock.now()))

    take(product, replace(store, pulse=look), replace(ORDER, id="other"))

    assert {tuple(found) for found in seen} == {("before.partial",)}


def test_what_fails_leaves_nothing_behind(product, store):
    def stop(label, *_):
        if label.startswith("writing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(product, replace(store, pulse=stop), ORDER)

    assert names(store.destination.path) == []


def test_a_dump_that_is_not_what_was_counted_does_not_pass_the_trial_restore(product, store, home, monkeypatch):
    other = home / "other.db"
    fill(other, people=49)

    @contextmanager
    def wrong(_snapshot, *, packed):
        with other.open("rb") as stream:
            yield stream

    monkeypatch.setattr(SqliteSnapshot, "read", wrong)

    with pytest.raises(StepFailed, match="has 49 rows, not 50"):
        take(product, store, ORDER)

    assert names(store.destination.path) == []


@pytest.mark.parametrize("room", [0.5, 1.5])
def test_a_disk_that_is_full_leaves_nothing_behind_and_says_so(product, store, site, room):
    if room > 1:
        fill(other := site.with_name("large.db"), people=2000)
        product = SqliteProduct(other)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(site.stat().st_size * room), before[1]))
    try:
        with pytest.raises(StepFailed) as caught:
            take(product, store, ORDER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.hint
    assert names(store.destination.path) == []


def test_a_damaged_database_is_not_backed_up(site, product, store):
    root = rows(site, "SELECT rootpage FROM sqlite_schema WHERE name = 'setting'")[0][0]
    with site.open("r+b") as stream:
        stream.seek((root - 1) * 4096)
        stream.write(b"\xff" * 200)

    with pytest.raises(StepFailed, match=r"damaged|CORRUPT"):
        take(product, store, ORDER)

    assert names(store.destination.path) == []


def test_an_index_that_contradicts_its_table_is_damage_though_every_row_can_be_read(site, product, store):
    change(site, "CREATE INDEX heavy ON person (weight)")
    connection = sqlite3.connect(site, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET sql = 'CREATE INDEX heavy ON person (photo)' WHERE name = 'heavy'")
    connection.close()

    with pytest.raises(StepFailed, match="integrity_check finds"):
        take(product, store, ORDER)


def test_rows_that_break_a_declared_rule_are_backed_up_as_they_are(site, product, store):
    change(site, f"""INSERT INTO "{ODD_NAME.replace('"', '""')}" (person) VALUES (99999)""")

    backup = take(product, store, ORDER)

    assert backup.manifest.facts.notes == ("1 foreign keys point nowhere",)


def test_a_backup_is_never_overwritten(product, store, backup):
    with pytest.raises(Refused, match="already"):
        take(product, store, ORDER)

    assert read_backup(store.destination, backup.manifest.id, store.key).sha256 == backup.sha256


def test_a_copy_that_takes_too_long_is_given_up(site, store):
    with pytest.raises(StepFailed, match="could not be copied within"):
        take(SqliteProduct(site, deadline=-1), store, ORDER)


def test_values_that_differ_only_in_type_or_blanks_are_told_apart(site, product, store):
    before = take(product, store, ORDER).manifest.facts

    for n, statement in enumerate(
        [
            "UPDATE setting SET value = 1.0 WHERE place = 'c'",
            "UPDATE setting SET value = '1' WHERE place = 'e'",
            "UPDATE person SET name = name || ' ' WHERE id = 3",
            "UPDATE person SET name = upper(name) WHERE id = 3",
            "UPDATE setting SET value = CAST(x'ff81' AS TEXT) WHERE name = 'bad'",
        ]
    ):
        change(site, statement)
        after = take(product, store, replace(ORDER, id=f"b{n}")).manifest.facts
        assert len(before.differences(after)) == 1, statement
        before = after


def test_a_digest_gives_no_guess_away_without_the_key(product, store, home, backup):
    other = home / "other"
    other.mkdir(mode=0o700)
    elsewhere = replace(store, destination=Folder(other / "b"), key=operator_key(other, make=True))

    theirs = take(product, elsewhere, ORDER).manifest.facts

    assert theirs.tables["person"].rows == backup.manifest.facts.tables["person"].rows
    assert theirs.tables["person"].digest != backup.manifest.facts.tables["person"].digest


def test_a_folder_that_others_can_read_is_refused(product, store):
    store.destination.path.mkdir(mode=0o755)

    with pytest.raises(DeployguardError, match="only you can read"):
        take(product, store, ORDER)
