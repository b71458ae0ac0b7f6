from dataclasses import replace

import pytest
from cryptography.fernet import Fernet, MultiFernet
from sample_project import NEW_KEY, OLD_KEY, SETTINGS, application, write_project

from deployguard.rows.discover import application_keys, discover, handshake
from deployguard.rows.sealers import Beside, sealing

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


def both(sealing, opening):
    """To seal by the one and open by the other, whatever the column."""
    return (lambda _, plaintext: sealing.encrypt(plaintext)), (lambda _, token: opening.decrypt(token))


def raw(columns):
    return [column for column in columns if column.derivation == "raw"]


def test_the_application_and_we_read_each_others_tokens_in_every_kind_of_column(site, columns):
    shaken = handshake(site, raw(columns), *both(OURS, OURS))

    assert shaken.problems == ()
    assert shaken.ok
    assert shaken.stable


def test_the_change_is_live_safe_only_if_every_field_reads_plaintext(site, columns):
    lenient = of(columns, "Profile.email", "Profile.born")
    strict = of(columns, "Profile.email", "Order.shipping")

    assert handshake(site, lenient, *both(OURS, OURS)).live_safe
    assert not handshake(site, strict, *both(OURS, OURS)).live_safe


@pytest.mark.parametrize("name", ["Packages.hkdf", "Packages.hkdf_date", "Packages.pbkdf2"])
def test_derived_keys_are_shaken_hands_on_with_the_keys_the_application_derived(site, columns, name):
    column = of(columns, name)
    [keys] = application_keys(site, column).values()
    derived = Fernet(keys[0].reveal())

    assert handshake(site, column, *both(derived, derived)).ok


def test_a_key_that_does_not_open_the_applications_tokens_is_a_problem(site, columns):
    shaken = handshake(site, of(columns, "Profile.email"), *both(STRANGER, STRANGER))

    assert not shaken.ok
    assert shaken.stable
    assert "web_profile.E-Mail (web.Profile.email) cannot be opened with the given key" in shaken.problems[0]


@pytest.mark.parametrize("name", ["Profile.email", "Order.shipping"])
def test_a_key_that_the_application_does_not_have_is_a_problem(site, columns, name):
    shaken = handshake(site, of(columns, name), *both(STRANGER, OURS))

    assert not shaken.ok
    assert "the application cannot read what we encrypted" in shaken.problems[0]


def test_a_form_that_only_the_application_speaks_is_shaken_hands_on_by_having_it_speak(site, columns):
    ours = of(columns, "Packages.leaves", "Packages.pickled")

    with sealing([], Beside({}, {c.place: c.field for c in ours}, site)) as sealers:
        shaken = handshake(
            site,
            ours,
            lambda c, plaintext: sealers.of(c.table, c.column).seal_many([plaintext])[0],
            lambda c, token: sealers.of(c.table, c.column).open(token).plaintext,
        )

    assert shaken.problems == ()
    assert not handshake(site, ours, *both(OURS, OURS)).ok


def test_a_column_that_the_application_does_not_encrypt_is_a_problem(site, columns):
    [email] = of(columns, "Profile.email")
    plain = replace(email, column="name", field="web.Profile.name")

    assert "is no encrypted field" in handshake(site, [plain], *both(OURS, OURS)).problems[0]


def test_columns_outside_the_application_are_passed_over(site, columns):
    [email] = of(columns, "Profile.email")

    assert handshake(site, [replace(email, field="")], *both(OURS, OURS)).ok


def test_a_key_made_up_at_each_start_is_found(tmp_path):
    made_up = (
        SETTINGS + "\n    from cryptography.fernet import Fernet\n    FIELD_ENCRYPTION_KEY = Fernet.generate_key()\n"
    )
    app = application(write_project(tmp_path, site_settings=made_up))
    columns = of(discover(app).fields, "Profile.email")

    shaken = handshake(app, columns, *both(OURS, OURS))

    assert not shaken.stable
    assert "FIELD_ENCRYPTION_KEY differs between two starts" in "\n".join(shaken.problems)
    assert "web.Profile.email does not read after a restart what it stored before" in shaken.problems
