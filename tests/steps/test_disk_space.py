"""`disk.space`: room for the backup, its copies and the growth of the rows, on every disk that takes part."""

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from checking import context
from pydantic import ValidationError

from deployguard.databases.server_disk import room_of
from deployguard.keys.keyring import Keyring, token_length
from deployguard.rows.growth import growth
from deployguard.steps.disk_space import DiskSpace

MIB = 2**20


@pytest.fixture
def site(tmp_path):
    """With a database of a little more than 4 MiB."""
    with sqlite3.connect(tmp_path / "site.db") as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO people (name) VALUES (?)", [["x" * MIB]] * 4)
    connection.close()
    return context(tmp_path, url=f"sqlite:///{tmp_path}/site.db", home=tmp_path / "not made yet/home")


def test_what_is_free_and_needed_goes_on_record_and_no_folder_is_made(site):
    outcome = DiskSpace(at_least="1MiB", factor=2).execute(site)

    assert outcome.status == "pass"
    assert outcome.evidence["database"] == (site.target.directory / "site.db").stat().st_size
    assert outcome.evidence["needed"] == 2 * outcome.evidence["database"]
    assert outcome.evidence["free"] == pytest.approx(shutil.disk_usage(site.target.directory).free, rel=0.1)
    assert not (site.target.directory / "not made yet").exists()


def test_too_little_room_fails_with_both_numbers(site):
    outcome = DiskSpace(at_least="900TiB").execute(site)

    assert outcome.status == "fail"
    assert f"{900 * MIB} MiB needed" in outcome.summary
    assert "DEPLOYGUARD_HOME" in outcome.hint


def test_a_large_factor_counts_as_much_as_a_large_minimum(site):
    assert DiskSpace(at_least=1, factor=10**9).execute(site).status == "fail"


def test_without_a_database_only_the_minimum_counts(tmp_path):
    outcome = DiskSpace(at_least="1MiB").execute(context(tmp_path))

    assert (outcome.evidence["database"], outcome.evidence["needed"]) == (0, MIB)


def test_while_nobody_says_which_columns_that_is_said(site):
    outcome = DiskSpace(at_least=1).execute(site)

    assert outcome.evidence["growth"] is None
    assert "how much the rows will grow is known once" in outcome.summary


# -- the rows


@pytest.fixture
def people(store, keyring):
    """Short values, long ones, missing ones, and tokens that are there already."""
    engine = " ENGINE=InnoDB" if store.product == "mariadb" else ""
    store.run(f"CREATE TABLE shop_person (id int PRIMARY KEY, email varchar(500), note text){engine}")
    token = keyring.seal(b"ann@example.org").decode()
    values = ["a", "x" * 40, "é" * 30, "", None, token]
    store.run_many(
        "INSERT INTO shop_person VALUES (?, ?, ?)", [(n, values[n % 6], values[(n + 1) % 6]) for n in range(600)]
    )
    return store


EACH = [1, 40, 60]
MORE = 2 * 100 * sum(token_length(size) - size for size in EACH)
COLUMNS = [("shop_person", "email"), ("shop_person", "note")]


def test_the_growth_is_that_of_each_values_token(people, opened):
    found = growth(opened(people, read_only=True), COLUMNS)

    assert (found.values, found.more, found.read, found.rows) == (600, MORE, 600, 600)
    # a server may know only by and by how large a table has become
    assert found.tables > (600 * 40 if people.product == "sqlite" else 0)


def test_a_large_table_is_reckoned_from_a_part_of_its_rows(people, opened, monkeypatch):
    monkeypatch.setattr("deployguard.rows.growth._READ", 300)
    monkeypatch.setattr("deployguard.rows.spread._PAGE", 60)
    if people.product != "sqlite":
        people.run("ANALYZE" + (" TABLE shop_person" if people.product == "mariadb" else ""))

    found = growth(opened(people, read_only=True), COLUMNS)

    assert found.read == 300
    assert found.more == pytest.approx(MORE, rel=0.1)


def test_the_rows_count_on_the_disk_where_they_are(people, tmp_path):
    outcome = DiskSpace(at_least=1, factor=2, columns=["shop.Person.email", "shop.Person.note"]).execute(
        context(tmp_path, url=people.url)
    )

    size, grown = outcome.evidence["database"], outcome.evidence["growth"]
    wanted = grown["more"] + grown["tables"]
    disks = outcome.evidence["disks"]
    if people.product == "sqlite":
        assert [disk["needed"] for disk in disks] == [2 * size + wanted]
    else:
        # the dump comes here, the copy that it is tried on is another database of the server
        assert [disk["needed"] for disk in disks] == [size, size + wanted]
        assert Path(disks[1]["place"]).name == "data"
        assert disks[1]["free"] == pytest.approx(shutil.disk_usage(disks[1]["place"]).free, rel=0.1)
    assert outcome.status == "pass"


def test_a_server_whose_disk_is_too_small_is_named(postgres, tmp_path, monkeypatch):
    free = SimpleNamespace(free=5 * MIB)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free if Path(path).name == "data" else real(path))

    outcome = DiskSpace(at_least=1, factor=3).execute(context(tmp_path, url=postgres.url))

    assert outcome.status == "fail"
    assert f"5 MiB free in {postgres.run('SHOW data_directory')[0][0]}" in outcome.summary
    assert "Give the database's disk more room" in outcome.hint


def test_a_server_elsewhere_that_does_not_tell_is_said(postgres, tmp_path, opened):
    database = opened(postgres, read_only=True)

    assert room_of(database, "db.example.org") is None
    assert room_of(database, "/run") is not None


def test_a_user_who_may_not_know_where_the_data_is_gets_an_answer_all_the_same(postgres, tmp_path):
    postgres.run("CREATE ROLE modest LOGIN")
    try:
        outcome = DiskSpace(at_least=1).execute(context(tmp_path, url=postgres.url.replace("postgres@", "modest@")))
    finally:
        postgres.run("DROP ROLE modest")

    assert outcome.status == "pass"
    assert "the server does not say how much room it has; it needs" in outcome.summary


def test_tokens_that_are_there_do_not_grow(store, opened, new_key):
    store.run("CREATE TABLE shop_person (id int PRIMARY KEY, email varchar(500))")
    store.run("INSERT INTO shop_person VALUES (1, ?)", Keyring(new_key()).seal(b"x").decode())

    assert growth(opened(store, read_only=True), COLUMNS[:1]).more == 0


@pytest.mark.parametrize("wrong", [{"factor": 0.5}, {"at_least": "much"}, {"at_least": -1}, {"columns": ["email"]}])
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        DiskSpace(**wrong)
