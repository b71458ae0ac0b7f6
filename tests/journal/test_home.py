"""deployguard's own folder: private, ignored by git, and still there after a power cut."""

import os
from pathlib import Path

import pytest

from deployguard.errors import Refused
from deployguard.journal.home import check_home, open_home


@pytest.fixture
def synced(monkeypatch):
    """Folders whose entries were made certain, and what was in them then."""
    found = {}
    usual = os.fsync

    def fsync(fd):
        place = Path(f"/proc/self/fd/{fd}").readlink()
        if place.is_dir():
            found[place] = {entry.name for entry in place.iterdir()}
        usual(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_it_is_private_and_ignores_itself_in_git(tmp_path):
    home = open_home(tmp_path / ".deployguard")

    assert oct(home.path.stat().st_mode & 0o777) == "0o700"
    assert (home.path / ".gitignore").read_text() == "*\n"


def test_a_folder_that_was_made_is_certain_in_the_one_above_it(tmp_path, synced):
    home = open_home(tmp_path / "a" / ".deployguard")
    home.run("staging-1")

    assert "a" in synced[tmp_path]
    assert ".deployguard" in synced[tmp_path / "a"]
    assert {"runs", "locks", "backups"} <= synced[home.path]
    assert synced[home.path / "runs"] == {"staging-1"}


def test_one_that_is_there_costs_no_sync(tmp_path, synced):
    open_home(tmp_path / ".deployguard").run("staging-1")
    synced.clear()

    open_home(tmp_path / ".deployguard").run("staging-1")

    assert synced == {}


@pytest.mark.parametrize("opening", [open_home, check_home])
def test_a_link_in_its_place_is_refused(tmp_path, opening):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".deployguard").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Refused, match="is a symbolic link"):
        opening(tmp_path / ".deployguard")

    assert list((tmp_path / "elsewhere").iterdir()) == []
