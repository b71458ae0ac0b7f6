import random
import sqlite3
import time
from dataclasses import replace

import pytest
from sites import ODD_NAME, change, fill, killed, names, rows, writing

from deployguard.backup.base import Loss
from deployguard.backup.restore import restore
from deployguard.backup.sqlite import SqliteProduct
from deployguard.backup.sqlite_facts import facts_of
from deployguard.backup.take import Order, take
from deployguard.databases.sqlite import Sqlite
from deployguard.errors import LeaseLost, Refused

ORDER = Order("before", "production", reason="a test")
PEOPLE = "SELECT * FROM person ORDER BY id"


def _facts(path, store):
    connection = sqlite3.connect(path)
    connection.text_factory = bytearray
    try:
        return facts_of(connection, store.key.digests, store.pulse)
    finally:
        connection.close()


def _former(site):
    return [
        site.with_name(name)
        for name in names(site.parent)
        if ".before-restore-" in name and not name.endswith(".partial")
    ]


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_it_brings_back_every_value_and_keeps_the_former_database(home, store, journal):
    site = home / "shop.db"
    fill(site, journal=journal)
    backup = take(SqliteProduct(site), store, ORDER)
    change(site, "UPDATE person SET name = 'encrypted', photo = NULL")
    changed = _facts(site, store)

    done = restore(SqliteProduct(site, 60), backup, store)

    assert _facts(site, store) == backup.manifest.facts
    assert _facts(done.kept, store) == changed
    assert rows(site, "PRAGMA journal_mode") == [(journal,)]


CHANGES = {
    "a byte of a large value": "UPDATE person SET photo = zeroblob(2999999) || x'01' WHERE id = 7",
    "the number that comes next": "UPDATE sqlite_sequence SET seq = 0",
    "a view": "DROP VIEW people",
    "a trigger": "DROP TRIGGER named",
    "a trigger on a view": "DROP TRIGGER renamed",
    "an index": "DROP INDEX person_name",
    "a table of a module": "DROP TABLE words",
    "a row of a module": "DELETE FROM place",
    "a stored generated column": "ALTER TABLE exact RENAME twice TO thrice",
    "a table without row numbers": "DELETE FROM setting WHERE place = 'c'",
    "a rule": "DROP TABLE exact",
    "what the application marks the file with": "PRAGMA user_version = 8",
}


@pytest.mark.parametrize("change_", CHANGES.values(), ids=CHANGES.keys())
def test_a_copy_that_lacks_one_thing_is_told_from_the_original(site, product, store, change_):
    change(site, "UPDATE person SET photo = zeroblob(3000000) WHERE id = 7")
    backup = take(product, store, ORDER)

    change(site, change_)

    assert backup.manifest.state == "restored"
    assert backup.manifest.facts.differences(_facts(site, store))


def test_a_changed_schema_goes_back_too(site, product, store, backup):
    change(site, "ALTER TABLE person ADD COLUMN token TEXT")
    change(site, "DROP TABLE setting")
    change(site, "CREATE TABLE extra (id INTEGER)")

    restore(product, backup, store)

    assert _facts(site, store) == backup.manifest.facts


def test_what_would_be_lost_is_counted_by_table(site, product, store, backup):
    change(site, "UPDATE person SET name = upper(name) WHERE id < 7")
    change(site, "DELETE FROM person WHERE id >= 48")
    change(site, "INSERT INTO person VALUES (100, 'new', NULL, NULL)")
    change(site, "UPDATE setting SET value = 1.0 WHERE place = 'c'")
    change(site, f"""DELETE FROM "{ODD_NAME.replace('"', '""')}" WHERE person = 1""")
    change(site, "CREATE TABLE extra (id INTEGER)")
    change(site, "INSERT INTO extra VALUES (1)")

    done = restore(product, backup, store)

    assert done.loss["person"] == Loss(added=1, changed=7, removed=2)
    assert done.loss["setting"] == Loss(changed=1)
    assert done.loss[ODD_NAME] == Loss(removed=1)
    assert done.loss["extra"] == Loss(added=1)
    assert "credit" not in done.loss


def test_a_connection_that_stays_open_sees_the_restored_rows(home, store):
    site = home / "shop.db"
    fill(site, journal="delete")
    backup = take(SqliteProduct(site), store, ORDER)
    before = rows(site, PEOPLE)
    application = sqlite3.connect(site)
    application.execute("UPDATE person SET name = 'encrypted'")
    application.commit()

    restore(SqliteProduct(site, 60), backup, store)

    assert application.execute(PEOPLE).fetchall() == before
    application.execute("INSERT INTO blank VALUES (1)")
    application.commit()
    application.close()
    assert rows(site, "SELECT * FROM blank") == [(1,)]


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_it_is_refused_while_somebody_is_writing(home, store, journal):
    site = home / "shop.db"
    fill(site, journal=journal)
    backup = take(SqliteProduct(site), store, ORDER)
    application = sqlite3.connect(site, isolation_level=None)
    application.execute("BEGIN IMMEDIATE")
    application.execute("INSERT INTO blank VALUES (1)")

    with pytest.raises(Refused, match="in use"):
        restore(SqliteProduct(site, 0.2), backup, store)

    application.execute("COMMIT")
    application.close()
    assert rows(site, "SELECT * FROM blank") == [(1,)]
    assert _former(site) == []


def test_no_write_of_a_live_writer_falls_between_what_is_kept_and_what_is_restored(home, store):
    site = home / "shop.db"
    fill(site, journal="delete")
    backup = take(SqliteProduct(site), store, ORDER)

    with writing(site, pause=0.02) as writer:
        restore(SqliteProduct(site, 30), backup, store)
        while not rows(site, "SELECT n FROM credit"):  # it goes on
            assert writer.poll() is None
            time.sleep(0.01)
        writer.kill()
        writer.wait()
        acknowledged = writer.acknowledged()[-1]

    kept = rows(_former(site)[0], "SELECT n FROM credit") + rows(site, "SELECT n FROM credit")
    assert set(range(1, acknowledged + 1)) <= {n for (n,) in kept}


def test_with_a_write_ahead_log_it_is_refused_while_any_connection_is_open(home, store):
    site = home / "shop.db"
    fill(site, journal="wal")
    backup = take(SqliteProduct(site), store, ORDER)

    with writing(site) as writer:
        with pytest.raises(Refused, match="in use"):
            restore(SqliteProduct(site, 1), backup, store)
        still_writing = writer.poll() is None

    assert still_writing
    assert _former(site) == []


def test_the_fencing_token_never_goes_back(site, product, store):
    database = Sqlite(site, read_only=False)
    database.claim(3)
    backup = take(product, store, ORDER)
    database.claim(9)
    database.close()

    restore(product, backup, store)

    database = Sqlite(site, read_only=False)
    assert database.fence() == 9
    with pytest.raises(LeaseLost), database.batch(3):
        pass
    database.close()


def test_the_fencing_token_is_kept_when_the_backup_has_none(site, product, store, backup):
    database = Sqlite(site, read_only=False)
    database.claim(9)
    database.close()

    restore(product, backup, store)

    database = Sqlite(site, read_only=True)
    assert database.fence() == 9
    database.close()


def test_a_copy_that_is_not_what_was_taken_is_not_swapped_in(site, product, store, backup):
    wrong = replace(backup.manifest.facts, tables={**backup.manifest.facts.tables})
    wrong.tables["person"] = replace(wrong.tables["person"], digest="0" * 64)
    before = site.read_bytes()

    with pytest.raises(Exception, match="not to what was taken"):
        restore(product, replace(backup, manifest=replace(backup.manifest, facts=wrong)), store)

    assert site.read_bytes() == before


def test_two_restores_in_one_second_keep_both_former_databases(site, product, store, backup):
    restore(product, backup, store)

    restore(product, backup, store)

    assert len(_former(site)) == 2
    assert _facts(site, store) == backup.manifest.facts


def _kill_restores(home, store, journal, rounds):
    site = home / "shop.db"
    fill(site, journal=journal, people=20_000)
    product, dice = SqliteProduct(site, 20), random.Random(24)
    backup = take(product, store, ORDER)
    begun = time.monotonic()
    restore(product, backup, store)
    span, outcomes = time.monotonic() - begun, set()
    for _ in range(rounds):
        change(site, "UPDATE person SET name = 'encrypted: ' || id")
        for former in _former(site):
            former.unlink()
        present = _facts(site, store)

        killed(lambda: restore(product, backup, store), after=span * (0.2 + dice.random()))

        found = _facts(site, store)
        assert found in (present, backup.manifest.facts)
        outcomes.add(found == present)
        if found != present:
            assert _facts(_former(site)[0], store) == present
    restore(product, backup, store)
    assert _facts(site, store) == backup.manifest.facts
    return outcomes


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_kill_leaves_the_former_database_or_the_restored_one_and_never_a_third(home, store, journal):
    assert _kill_restores(home, store, journal, 6)


@pytest.mark.faults
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_hundred_kills_leave_the_former_database_or_the_restored_one(home, store, journal):
    assert _kill_restores(home, store, journal, 100) == {True, False}


def test_a_kill_at_any_file_operation_of_a_restore_leaves_one_whole_database(site, product, store, backup):
    change(site, "UPDATE person SET name = 'encrypted'")
    present, points = _facts(site, store), 0

    while killed(lambda: restore(product, backup, store), at_event=points + 1):
        points += 1
        found = _facts(site, store)
        assert found in (present, backup.manifest.facts)
        for former in _former(site):
            former.unlink()
        if found != present:
            change(site, "UPDATE person SET name = 'encrypted'")

    assert points >= 30
    assert _facts(site, store) == backup.manifest.facts
    assert names(store.destination.path) == ["before"]
