"""`key.unneeded`: what a manifest says of keys, and settings. What keeps a key stands in tests/cli/test_keys_rotate.py."""

from dataclasses import replace
from pathlib import Path

import pytest
from checking import context
from pydantic import ValidationError

from deployguard.backup import manifest as manifests
from deployguard.backup.find import read_backup
from deployguard.backup.seal import operator_key
from deployguard.errors import Refused
from deployguard.journal.home import open_home
from deployguard.steps.backup_create import BackupCreate, destination_of
from deployguard.steps.encryption import keys_needed
from deployguard.steps.key_unneeded import KeyUnneeded, _in_destination

PLAIN = BackupCreate(plain_reason="the disk is encrypted", verify="none")


@pytest.fixture
def shop(sqlite, tmp_path):
    sqlite.run("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
    return sqlite


@pytest.fixture
def here(shop, tmp_path, new_key):
    """With two keys, and no application that would say what is encrypted."""
    keys = {"new": new_key().reveal(), "old": new_key().reveal()}
    (tmp_path / "home").mkdir(mode=0o700)

    def here(*names):
        made = context(tmp_path, url=shop.url, secrets=keys, keys=names, home=tmp_path / "home")
        return replace(made, target=replace(made.target, home=open_home(tmp_path / "home")), run="r", step="b", fence=1)

    return here


def taken(here):
    PLAIN.execute(here)
    return read_backup(destination_of("", here.target, {}), "r-b", operator_key(here.target.home.path, make=False))


def test_a_backup_names_the_key_that_its_tokens_need(here):
    context = here("old")

    assert taken(context).manifest.keys == context.target.keyring.fingerprints


def test_where_nobody_can_count_it_does_not_say(here):
    assert taken(here("new", "old")).manifest.keys is None
    assert keys_needed(here().target) is None


def test_one_that_does_not_say_keeps_every_old_key(here, tmp_path):
    backup, target = taken(here("new", "old")), here("new", "old").target
    old = {target.keyring.fingerprints[1]: "old"}

    [(what, _)] = _in_destination(backup.destination, target, old)

    assert what == "the backup r-b does not say which keys it needs"


def test_a_manifest_from_before_this_was_asked_is_read_as_one_that_does_not_say(here, monkeypatch):
    backup, key = taken(here("old")), operator_key(here("old").target.home.path, make=False)
    body = manifests.asdict(backup.manifest)
    monkeypatch.setattr(manifests, "asdict", lambda _: {name: value for name, value in body.items() if name != "keys"})
    path = Path(backup.where) / manifests.NAME
    path.chmod(0o600)
    path.write_bytes(manifests.render(backup.manifest, key))

    assert read_backup(backup.destination, "r-b", key).manifest.keys is None


def test_with_one_key_there_is_nothing_to_take_away(here):
    outcome = KeyUnneeded().execute(here("new"))

    assert (outcome.summary, outcome.outputs) == ("there is only one key", {"unneeded": ""})


def test_without_an_application_nobody_knows_which_rows_need_it(here):
    with pytest.raises(Refused, match="names no Django application"):
        KeyUnneeded().execute(here("new", "old"))


@pytest.mark.parametrize("settings", [{"on_need": "ignore"}, {"folders": "backups"}, {"key": "old"}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        KeyUnneeded(**settings)
