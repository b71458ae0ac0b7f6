import pytest
from sample_project import NEW_KEY, application, write_project

from deployguard.rows.discover import application_keys, discover


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return application(write_project(tmp_path_factory.mktemp("site")))


@pytest.fixture(scope="module")
def discovery(site):
    return discover(site)


@pytest.fixture(scope="module")
def columns(discovery):
    return {column.field.removeprefix("web."): column for column in discovery.fields}


def test_every_encrypted_column_is_found_once_and_nothing_else(discovery, columns):
    assert len(columns) == len(discovery.fields)
    assert set(columns) == {
        "Profile.email", "Profile.nick", "Profile.bio", "Profile.born", "Profile.seen", "Profile.age", "Profile.member",
        "Order.shipping", "Order.card", "Order.iban", "Person.passport", "Employee.salary", "Note.text", "Audit.who",
        "Vote.address", "Legacy.phone",
        "Packages.hkdf", "Packages.hkdf_date", "Packages.pbkdf2", "Packages.leaves", "Packages.pickled",
    }  # fmt: skip


def test_look_alikes_are_left_out_and_said(discovery):
    notes = "\n".join(discovery.notes)

    assert "web.LookAlike.salted stores something it does not read back" in notes
    assert "web.LookAlike.digest stores something it does not read back" in notes
    assert "web.LookAlike.packed changes what it stores, the same way each time" in notes


def test_a_column_has_its_database_names(columns):
    email = columns["Profile.email"]

    assert (email.table, email.column, email.key) == ("web_profile", "E-Mail", ("id",))
    assert (columns["Legacy.phone"].table, columns["Legacy.phone"].key) == ('old "phones"', ("code",))
    assert columns["Vote.address"].key == ("voter", "topic")


def test_a_column_of_a_child_table_is_keyed_by_its_link_to_the_parent(columns):
    assert columns["Person.passport"].table == "web_person"
    assert columns["Employee.salary"].table == "web_employee"
    assert columns["Employee.salary"].key == ("person_ptr_id",)


def test_a_proxy_is_not_a_table_of_its_own(discovery):
    assert "PersonProxy" not in str(discovery)


def test_an_unmanaged_model_counts_unless_it_is_a_second_view(discovery, columns):
    assert not columns["Legacy.phone"].managed
    assert "web.ProfileAgain.email is the same column as web.Profile.email" in discovery.notes


def test_the_router_decides_the_database(columns):
    assert columns["Audit.who"].database == "archive"
    assert columns["Profile.bio"].database == "default"


def test_a_manager_that_hides_rows_is_told(columns):
    assert columns["Note.text"].hides_rows
    assert not columns["Profile.bio"].hides_rows


def test_what_an_empty_string_becomes_is_tried(columns):
    assert columns["Profile.bio"].empty_becomes == "token"
    assert columns["Packages.pbkdf2"].empty_becomes == "null"
    assert columns["Order.card"].empty_becomes == "empty"
    assert columns["Order.shipping"].empty_becomes == "empty", "its token would hold two quotes"
    assert columns["Profile.member"].empty_becomes == "empty", "a boolean cannot read an empty token"


def test_reading_plaintext_is_tried(columns):
    reading = {name for name, column in columns.items() if not column.reads_plaintext}

    assert reading == {
        "Order.shipping",
        "Packages.hkdf",
        "Packages.hkdf_date",
        "Packages.leaves",
        "Packages.pickled",
    }


def test_older_keys_are_tried_field_by_field(columns):
    assert (columns["Profile.email"].keys, columns["Profile.email"].rotates) == (2, True)
    assert (columns["Order.shipping"].keys, columns["Order.shipping"].rotates) == (2, True)
    assert (columns["Order.card"].keys, columns["Order.card"].rotates) == (1, False)


def test_width_and_searches_of_a_column_are_told(columns):
    assert columns["Order.card"].width == 64
    assert columns["Profile.bio"].width is None
    assert columns["Profile.email"].searched == ("unique",)
    assert columns["Profile.nick"].searched == ("by_nick", "one_nick")
    assert columns["Profile.bio"].searched == ("has_bio",)


def test_class_and_package_are_reported_through_a_thin_subclass(columns):
    nick = columns["Profile.nick"]

    assert nick.field_class == "web.fields.CustomEncryptedCharField"
    assert nick.package == "django-encrypted-model-fields"
    assert nick.package_version
    assert columns["Order.shipping"].package == ""


@pytest.mark.parametrize(
    ("name", "derivation", "form", "stored_as"),
    [
        ("Profile.email", "raw", "fernet", "text"),
        ("Order.shipping", "raw", "fernet", "text"),
        ("Packages.hkdf", "hkdf", "fernet", "binary"),
        ("Packages.pbkdf2", "pbkdf2", "fernet", "text"),
        ("Packages.leaves", "other", "other", "text"),
        ("Packages.pickled", "other", "other", "binary"),
    ],
)
def test_each_packages_tokens_and_keys_are_known_for_what_they_are(columns, name, derivation, form, stored_as):
    column = columns[name]

    assert (column.derivation, column.form, column.stored_as) == (derivation, form, stored_as)


def test_the_application_describes_itself(discovery, site):
    databases = {each.alias: each for each in discovery.databases}

    assert discovery.django.startswith("5.")
    assert discovery.settings == "site_settings"
    assert discovery.time_zone == "Europe/Berlin"
    assert databases["default"].name == "never-created.sqlite3"
    assert not list(site.directory.glob("*.sqlite3")), "nothing was opened"


def test_keys_come_as_secrets_the_writing_key_first(site, discovery):
    keys = application_keys(site, discovery.fields)

    assert keys["web.Profile.email"][0].reveal() == NEW_KEY
    assert len(keys["web.Profile.email"]) == 2
    assert len(keys["web.Packages.pbkdf2"]) == 1
    assert keys["web.Packages.pickled"] == ()
    assert NEW_KEY not in repr(keys)
