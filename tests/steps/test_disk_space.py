"""`disk.space`: room for the backup, its restored copy and the growth of the rows."""

import shutil
import sqlite3

import pytest
from checking import context
from pydantic import ValidationError

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


@pytest.mark.parametrize("wrong", [{"factor": 0.5}, {"at_least": "much"}, {"at_least": -1}])
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        DiskSpace(**wrong)
