"""A disk that is too small is found before anything is written to it."""

import os
import shutil
from dataclasses import replace

import pytest
from sites import names

from deployguard.backup.mysql import MysqlProduct
from deployguard.backup.postgres import PostgresProduct
from deployguard.backup.products import product as product_for
from deployguard.backup.rehearsal import copies
from deployguard.backup.restore import beside, restore
from deployguard.backup.room import Need, require
from deployguard.backup.take import Order, take
from deployguard.databases.server_disk import Room, room_in
from deployguard.errors import Refused

ORDER = Order("before", "production", reason="a test")
HUGE = 2**60


def _grow(site):
    """Far beyond its disk, without a byte on it."""
    os.truncate(site, shutil.disk_usage(site).free * 2)


@pytest.mark.parametrize("verify", ["restore", "none"])
def test_a_backup_that_does_not_fit_is_refused_before_it_is_begun(product, store, site, verify):
    _grow(site)

    with pytest.raises(Refused, match=r"the disk of .*backups.* are needed: the backup .*, a copy of the") as caught:
        take(product, store, replace(ORDER, verify=verify))

    assert "DEPLOYGUARD_HOME" in caught.value.hint
    assert names(store.destination.path) == []


def test_a_restore_that_would_not_fit_beside_what_it_replaces_is_refused(product, store, backup, site):
    _grow(site)

    with pytest.raises(Refused, match="the database as it is now"):
        restore(product, backup, store)

    assert names(store.destination.path) == ["before"]
    assert names(site.parent) == ["backups", "operator.key", "site.db"]


def test_a_trial_that_needs_no_swap_needs_no_room_for_one(product, store, backup, site):
    _grow(site)

    with beside(product, backup, store, ()) as copy:
        assert copy.database


def test_a_backup_whose_copy_does_not_fit_is_not_tried(product, store, backup):
    large = replace(backup, manifest=replace(backup.manifest, size=HUGE))

    with pytest.raises(Refused, match="a copy of the database"), beside(product, large, store, ()):
        pass

    assert names(store.destination.path) == ["before"]


def test_a_backup_that_does_not_say_how_large_the_database_was_needs_what_its_dump_does(product, store, backup):
    stored = replace(backup.manifest.stored, plain_bytes=HUGE)
    older = replace(backup, manifest=replace(backup.manifest, size=0, stored=stored))

    with pytest.raises(Refused, match="a copy of the database"), beside(product, older, store, ()):
        pass


def test_a_rehearsal_whose_copies_do_not_fit_makes_none(site, home):
    _grow(site)

    with (
        pytest.raises(Refused, match="3 copies of the database"),
        copies(f"sqlite:///{site}", base=home, folder=home / "try", name="r", deadline=9, pulse=lambda *_: None),
    ):
        pass

    assert names(home) == ["site.db"]


@pytest.fixture(params=["postgres", "mariadb"])
def server(request, monkeypatch, home):
    """A database on a server, and a way to say that it is huge."""
    kind = PostgresProduct if request.param == "postgres" else MysqlProduct
    database = request.getfixturevalue(request.param)
    if request.param == "postgres":
        programs = request.getfixturevalue("postgres_server").programs
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    database.run("CREATE TABLE t (id int PRIMARY KEY)")
    return product_for(database.url, base=home), lambda: monkeypatch.setattr(kind, "size", lambda _self: HUGE)


def test_on_a_server_both_disks_are_looked_at(server, store):
    product, grow = server
    backup = take(product, store, ORDER)
    grow()

    with pytest.raises(Refused, match="the backup "):
        take(product, store, replace(ORDER, id="after"))
    with pytest.raises(Refused, match="a copy of the database"):
        restore(product, replace(backup, manifest=replace(backup.manifest, size=HUGE)), store)

    assert names(store.destination.path) == ["before"]


def test_what_goes_to_one_disk_adds_up():
    here = Room(free=100, place="/srv", device=1)
    require([Need(here, 60, "one"), Need(Room(100, "/var", 2), 60, "two")])

    with pytest.raises(Refused, match=r"one .*, two"):
        require([Need(here, 60, "one"), Need(replace(here, place="/srv/other"), 60, "two")])


def test_a_disk_that_nobody_can_tell_of_stops_nothing():
    require([Need(None, HUGE, "a copy")])


def test_the_room_of_a_folder_that_is_not_made_yet_is_that_of_its_disk(home):
    assert room_in(home / "not" / "yet").device == home.stat().st_dev
