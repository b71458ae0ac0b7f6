"""What is not the backup that was taken is refused before the first write to the database."""

import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from damages import append, flip, move_block, restored_though_damaged, truncate, zero
from sites import at, files, names, rows

from deployguard.backup.find import backups, read_backup
from deployguard.backup.manifest import render
from deployguard.backup.restore import restore
from deployguard.backup.seal import VARIABLE, operator_key
from deployguard.backup.stored import check
from deployguard.backup.take import Order, take
from deployguard.errors import Damaged, Refused

DUMP, MANIFEST = "database.sqlite3", "manifest.json"


def _empty(path, _dice):
    path.write_bytes(b"")


def _missing(path, _dice):
    path.unlink()


def _swapped(path, _dice):
    other = path.with_name(DUMP if path.name == MANIFEST else MANIFEST)
    spare = path.with_name("spare")
    path.rename(spare)
    other.rename(path)
    spare.rename(other)


def _extra(path, dice):
    path.with_name(f"{path.name}{dice.choice(['-wal', '-journal', '.1', '~'])}").write_bytes(b"x")


def _link(path, _dice):
    target = path.with_name(f".{path.name}")
    path.rename(target)
    path.symlink_to(target)


DAMAGES = [flip, flip, flip, truncate, zero, append, move_block, _empty, _missing, _swapped, _extra, _link]


def _refused(product, store, backup):
    try:
        restore(product, read_backup(store.destination, backup.manifest.id, store.key), store)
    except Damaged:
        return True
    return False


def _try_damages(count, product, store, backup, site):
    before, dice = site.read_bytes(), random.Random(20)
    whole = at(backup).rename(at(backup).with_name("whole"))
    for number in range(count):
        damage, name = dice.choice(DAMAGES), dice.choice([DUMP, MANIFEST])
        if at(backup).exists():
            shutil.rmtree(at(backup))
        shutil.copytree(whole, at(backup))
        damage(at(backup) / name, dice)

        assert _refused(product, store, backup), f"damage {number} ({damage.__name__} of {name}) was restored"

    assert site.read_bytes() == before
    assert names(site.parent) == ["backups", "operator.key", "site.db"]


def test_damage_of_every_kind_is_refused_before_the_first_write(product, store, backup, site):
    _try_damages(500, product, store, backup, site)


def test_damage_that_was_sealed_anew_is_found_by_the_restored_copy(product, store, backup, site):
    before = site.read_bytes()

    assert restored_though_damaged(200, product, store, backup) < 120, "these hit pages that hold nothing"

    assert site.read_bytes() == before


@pytest.mark.faults
def test_ten_thousand_damages_are_refused_before_the_first_write(product, store, backup, site):
    _try_damages(10_000, product, store, backup, site)


def test_another_backup_under_this_name_is_refused(product, store, backup):
    other = take(product, store, Order("after", "production", run="r2", step="backup", reason="a test"))
    shutil.rmtree(at(backup))
    at(other).rename(at(backup))

    with pytest.raises(Damaged, match="another backup under this name"):
        read_backup(store.destination, backup.manifest.id, store.key)


def test_the_dump_of_another_run_is_refused(product, store, backup):
    other = take(product, store, Order("after", "production", run="r2", step="backup", reason="a test"))
    (at(backup) / MANIFEST).replace(at(other) / MANIFEST)

    with pytest.raises(Damaged):
        read_backup(store.destination, other.manifest.id, store.key)


def test_a_manifest_that_somebody_else_sealed_is_refused(store, backup, home):
    stranger = home / "stranger"
    stranger.mkdir(mode=0o700)
    forged = render(replace(backup.manifest, state="restored"), operator_key(stranger, make=True))
    (at(backup) / MANIFEST).write_bytes(forged)

    with pytest.raises(Damaged, match="sealed with another key"):
        read_backup(store.destination, backup.manifest.id, store.key)


def test_a_seal_over_other_words_is_refused(store, backup):
    data = (at(backup) / MANIFEST).read_bytes()
    (at(backup) / MANIFEST).write_bytes(data.replace(b'"run": "r1"', b'"run": "r2"'))

    with pytest.raises(Damaged, match="changed"):
        read_backup(store.destination, backup.manifest.id, store.key)


def test_a_manifest_that_says_the_same_in_other_bytes_is_refused(store, backup):
    data = (at(backup) / MANIFEST).read_bytes()
    (at(backup) / MANIFEST).write_bytes(data.replace(b": ", b":  ", 1))

    with pytest.raises(Damaged, match="changed"):
        read_backup(store.destination, backup.manifest.id, store.key)


def test_a_dump_that_lies_elsewhere_is_refused(store, backup, home):
    (at(backup) / DUMP).rename(home / "elsewhere")
    (at(backup) / DUMP).symlink_to(home / "elsewhere")

    with pytest.raises(Damaged):
        check(files(backup), store.pulse)


def test_a_key_in_the_environment_is_the_only_one_that_counts(store, backup, home, monkeypatch):
    monkeypatch.setenv(VARIABLE, "kept elsewhere, by the operator")

    with pytest.raises(Damaged, match="another key"):
        read_backup(store.destination, backup.manifest.id, operator_key(home, make=False))


def test_without_the_key_no_backup_is_believed(home):
    (home / "operator.key").unlink(missing_ok=True)

    with pytest.raises(Refused, match="no key"):
        operator_key(home, make=False)


def test_a_key_that_others_can_read_is_refused(home, key):
    (home / "operator.key").chmod(0o644)

    with pytest.raises(Refused, match="read by others"):
        operator_key(home, make=False)


def test_a_half_written_backup_is_not_listed_and_a_damaged_one_is_named(product, store, backup):
    take(product, store, Order("after", "production", reason="a test"))
    at(backup).rename(at(backup).with_name("before.partial"))
    (store.destination.path / "empty").mkdir()

    found = list(backups(store.destination, store.key))

    assert [type(b) is Damaged for b in found] == [True, False]
    assert found[1].manifest.id == "after"


def test_a_damaged_copy_never_passes_for_read(store, backup):
    check(files(backup), store.pulse)
    flip(at(backup) / DUMP, random.Random(1))

    with pytest.raises(Damaged, match="was changed"):
        check(files(backup), store.pulse)


def test_what_was_refused_is_still_the_database_it_was(product, store, backup, site):
    flip(at(backup) / DUMP, random.Random(2))

    with pytest.raises(Damaged):
        restore(product, backup, store)

    with closing(sqlite3.connect(site)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(rows(site, "SELECT * FROM person")) == 50
