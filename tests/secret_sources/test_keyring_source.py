"""The keyring library with a file behind it (keyrings.alt): no desktop runs where tests do."""

import sys
import threading

import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring
from keyrings.alt.file import PlaintextKeyring

from deployguard.errors import Refused
from deployguard.secret_sources import keyring as module
from deployguard.secret_sources.keyring import Keyring

VALUE = "the-value-that-nobody-may-see"
SOURCE = Keyring(service="deployguard", username="field-key")


@pytest.fixture
def ring(tmp_path):
    before, ring = keyring.get_keyring(), PlaintextKeyring()
    ring.file_path = str(tmp_path / "ring")
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def refusal(base):
    with pytest.raises(Refused) as caught:
        SOURCE.fetch("field_key", base=base)
    return f"{caught.value.message}\n{caught.value.hint}"


def test_a_kept_password_is_given(ring, tmp_path):
    keyring.set_password("deployguard", "field-key", VALUE)

    assert SOURCE.fetch("k", base=tmp_path).reveal() == VALUE


def test_one_that_is_not_kept_is_named_with_user_and_keyring(ring, tmp_path):
    said = refusal(tmp_path)

    assert "keyring deployguard/field-key (secret field_key) is not there for user " in said
    assert "with keyrings.alt.file" in said
    assert "keyring set deployguard field-key" in said


def test_a_machine_without_a_keyring_is_told(ring, tmp_path):
    keyring.set_keyring(NoKeyring())

    assert "with keyring.backends.fail: NoKeyringError" in refusal(tmp_path)


def test_a_keyring_that_waits_for_a_person_does_not_hold_the_run(ring, tmp_path, monkeypatch):
    person, before = threading.Event(), set(threading.enumerate())
    monkeypatch.setattr(ring, "get_password", lambda *_: person.wait(20) and None)
    monkeypatch.setattr(module, "_SECONDS", 0.1)

    assert "did not answer in 0.1 s" in refusal(tmp_path)
    assert [thread.daemon for thread in set(threading.enumerate()) - before] == [True]
    person.set()


def test_a_missing_library_is_named_with_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)

    said = refusal(tmp_path)

    assert "the library keyring is not installed" in said
    assert "pip install 'deployguard[keyring]'" in said
