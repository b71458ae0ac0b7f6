"""`folder.private`: deployguard's folder is its user's alone; nothing is made or changed by looking."""

import os

import pytest
from checking import context

from deployguard.journal.home import open_home
from deployguard.steps.folder_private import FolderPrivate


@pytest.fixture
def home(tmp_path):
    tmp_path.chmod(0o700)
    return open_home(tmp_path / "home").path


def check(home, **settings):
    return FolderPrivate(**settings).execute(context(home.parent, home=home))


def test_a_folder_as_deployguard_makes_it_passes(home):
    outcome = check(home)

    # a test folder may be in memory, which is worth a warning
    assert outcome.status in {"pass", "warn"}
    assert outcome.evidence["free"] > 0


def test_a_folder_that_is_not_there_yet_is_judged_by_where_it_will_be(tmp_path):
    outcome = check(tmp_path / "not" / "yet" / "home")

    assert outcome.status in {"pass", "warn"}
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_is_open_to_others_is_a_fault(home, mode):
    home.chmod(mode)

    outcome = check(home)

    assert outcome.status == "fail"
    assert f"is open to others (mode {mode:04o})" in outcome.summary
    assert f"chmod 0700 {home}" in outcome.hint


def test_a_folder_above_it_that_anybody_may_write_to_is_a_fault(home):
    home.parent.chmod(0o777)

    outcome = check(home)

    assert outcome.status == "fail"
    assert f"anybody may exchange what is in {home.parent}" in outcome.summary


def test_a_sticky_folder_above_it_is_none(home):
    home.parent.chmod(0o1777)

    assert check(home).status != "fail"


def test_a_link_in_its_place_is_a_fault(home, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(home)

    assert "is not a real folder" in check(link).summary


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_a_fault(home):
    os.chown(home, 65534, 65534)

    assert "belongs to another user" in check(home).summary


def test_too_little_room_is_a_fault(home):
    outcome = check(home, at_least="1000000TB")

    assert outcome.status == "fail"
    assert "DEPLOYGUARD_HOME" in outcome.hint


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no file system in memory")
def test_a_disk_that_a_restart_empties_is_a_warning(tmp_path):
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(dir="/dev/shm") as folder:
        outcome = check(open_home(Path(folder) / "home").path)

    assert outcome.status == "warn"
    assert "a restart of the machine would lose the journal" in outcome.summary


def test_proc_is_read_only_or_not_ours_to_write():
    from pathlib import Path

    assert check(Path("/proc/none/home")).status == "fail"
