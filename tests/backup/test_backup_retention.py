from dataclasses import replace
from pathlib import Path

import pytest

from deployguard.backup.base import Facts
from deployguard.backup.manifest import Manifest, Stored
from deployguard.backup.retention import fates
from deployguard.backup.take import Backup
from deployguard.databases.base import Identity

NOW = "2026-03-01T00:00:00Z"


@pytest.fixture
def backup():
    """One of production, taken in February and good until April; each call names another day or another fact."""
    stored = Stored("dump", 1, "", 1, "")
    manifest = Manifest(
        id="", run="", step="", environment="production", state="restored",
        identity=Identity("sqlite", "3", "host", "site.db", "1"), client_version="3", position="",
        taken_at="", ended_at="", expires="2026-04-01T00:00:00Z", reason="", recipients=(), stored=stored,
        facts=Facts("", {}),
    )  # fmt: skip

    def backup(day, **facts):
        taken = f"2026-02-{day:02d}T00:00:00Z"
        return Backup(Path(f"b{day}"), replace(manifest, id=f"b{day}", taken_at=taken, **facts), "")

    return backup


def destroyed(backups, **given):
    return [fate.backup.manifest.id for fate in fates(backups, now=NOW, **given) if fate.destroy]


def test_what_has_expired_goes(backup):
    assert destroyed([backup(1, expires="2026-02-20T00:00:00Z"), backup(2)]) == ["b1"]


def test_the_last_one_that_has_been_restored_stays_even_when_it_has_expired(backup):
    old = {"expires": "2026-02-20T00:00:00Z"}

    assert destroyed([backup(1, **old), backup(2, **old)]) == ["b1"]


def test_a_newer_one_that_was_never_restored_does_not_take_its_place(backup):
    old = {"expires": "2026-02-20T00:00:00Z"}

    assert destroyed([backup(1, **old), backup(2, state="readable", **old)]) == ["b2"]


def test_each_environment_keeps_its_own_last_one(backup):
    old = {"expires": "2026-02-20T00:00:00Z"}

    assert destroyed([backup(1, environment="staging", **old), backup(2, **old), backup(3)]) == ["b2"]


def test_those_of_unfinished_runs_stay(backup):
    old = backup(1, run="r1", expires="2026-02-20T00:00:00Z")

    assert destroyed([old, backup(2)], unfinished={"r1"}) == []
    assert destroyed([old, backup(2)], unfinished={"r2"}) == ["b1"]


def test_what_was_taken_before_a_moment_goes_though_it_has_not_expired(backup):
    taken = [backup(1), backup(2), backup(3)]

    assert destroyed(taken, plaintext_before="2026-02-02T12:00:00.000001Z") == ["b1", "b2"]


def test_what_was_taken_before_a_moment_stays_while_it_is_the_only_way_back(backup):
    assert destroyed([backup(1), backup(2)], plaintext_before="2026-02-28T00:00:00Z") == ["b1"]
