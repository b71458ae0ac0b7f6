from dataclasses import replace

import pytest
from cryptography.fernet import Fernet, MultiFernet
from sample_project import NEW_KEY, OLD_KEY, SETTINGS, application, write_project

from deployguard.rows.discover import application_keys, discover, handshake

OURS = MultiFernet([Fernet(NEW_KEY), Fernet(OLD_KEY)])
STRANGER = Fernet(Fernet.generate_key())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return application(write_project(tmp_path_factory.mktemp("site")))


@pytest.fixture(scope="module")
def columns(site):
    return discover(site).fields


def of(columns, *names):
    return [column for column in columns if column.field.removeprefix("web.") in names]


def raw(columns):
    return [column for column in columns if column.derivation == "raw"]


def test_the_application_and_we_read_each_others_tokens_in_every_kind_of_column(site, columns):
    shaken = handshake(site, raw(columns), OURS.encrypt, OURS.decrypt)

    assert shaken.problems == ()
    assert shaken.ok
    assert shaken.stable


def test_the_change_is_live_safe_only_if_every_field_reads_plaintext(site, columns):
    lenient = of(columns, "Profile.email", "Profile.born")
    strict = of(columns, "Profile.email", "Order.shipping")

    assert handshake(site, lenient, OURS.encrypt, OURS.decrypt).live_safe
    assert not handshake(site, strict, OURS.encrypt, OURS.decrypt).live_safe


@pytest.mark.parametrize("name", ["Packages.hkdf", "Packages.hkdf_date", "Packages.pbkdf2"])
def test_derived_keys_are_shaken_hands_on_with_the_keys_the_application_derived(site, columns, name):
    column = of(columns, name)
    [keys] = application_keys(site, column).values()
    derived = Fernet(keys[0].reveal())

    assert handshake(site, column, derived.encrypt, derived.decrypt).ok


def test_a_key_that_does_not_open_the_applications_tokens_is_a_problem(site, columns):
    shaken = handshake(site, of(columns, "Profile.email"), STRANGER.encrypt, STRANGER.decrypt)

    assert not shaken.ok
    assert shaken.stable
    assert "web_profile.E-Mail (web.Profile.email) cannot be opened with the given key" in shaken.problems[0]


@pytest.mark.parametrize("name", ["Profile.email", "Order.shipping"])
def test_a_key_that_the_application_does_not_have_is_a_problem(site, columns, name):
    shaken = handshake(site, of(columns, name), STRANGER.encrypt, OURS.decrypt)

    assert not shaken.ok
    assert "the application cannot read what we encrypted" in shaken.problems[0]


def test_tokens_in_another_form_than_fernet_are_refused_by_name(site, columns):
    shaken = handshake(site, of(columns, "Packages.leaves", "Packages.pickled"), OURS.encrypt, OURS.decrypt)

    said = "stores something that is no Fernet token"
    assert shaken.problems == (
        f"web_packages.leaves (web.Packages.leaves) {said} (django-fernet-encrypted-fields)",
        f"web_packages.pickled (web.Packages.pickled) {said} (django-cryptography-5)",
    )


def test_a_column_that_the_application_does_not_encrypt_is_a_problem(site, columns):
    [email] = of(columns, "Profile.email")
    plain = replace(email, column="name", field="web.Profile.name")

    assert "is no encrypted field" in handshake(site, [plain], OURS.encrypt, OURS.decrypt).problems[0]


def test_columns_outside_the_application_are_passed_over(site, columns):
    [email] = of(columns, "Profile.email")

    assert handshake(site, [replace(email, field="")], OURS.encrypt, OURS.decrypt).ok


def test_a_key_made_up_at_each_start_is_found(tmp_path):
    made_up = (
        SETTINGS + "\n    from cryptography.fernet import Fernet\n    FIELD_ENCRYPTION_KEY = Fernet.generate_key()\n"
    )
    app = application(write_project(tmp_path, site_settings=made_up))
    columns = of(discover(app).fields, "Profile.email")

    shaken = handshake(app, columns, OURS.encrypt, OURS.decrypt)

    assert not shaken.stable
    assert "FIELD_ENCRYPTION_KEY differs between two starts" in "\n".join(shaken.problems)
    assert "web.Profile.email does not read after a restart what it stored before" in shaken.problems
