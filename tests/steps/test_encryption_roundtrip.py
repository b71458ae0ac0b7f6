"""`encryption.roundtrip`: what the application writes from now on is encrypted, and nothing of the trial stays."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest
from checking import SITE, application, context, write
from copies_site import database_of, manage
from pydantic import ValidationError
from servers import Store, sqlite_store

from deployguard.errors import Refused, StepFailed
from deployguard.keys.keyring import Keyring
from deployguard.steps.encryption_roundtrip import EncryptionRoundtrip

_NUMBERS = count(1)
SETTINGS = """
    import json, os
    import pymysql

    pymysql.install_as_MySQLdb()
    SECRET_KEY = "only-for-tests"
    FIELD_ENCRYPTION_KEY = os.environ["FIELD_ENCRYPTION_KEY"].split(",")
    INSTALLED_APPS = ["shop"]
    DATABASES = {"default": json.loads(os.environ["SITE_DATABASE"])}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    USE_TZ = True
"""
MODELS = """
    import uuid
    from django.db import models
    from django.db.models.signals import post_save
    from encrypted_model_fields.fields import (
        EncryptedCharField, EncryptedDateField, EncryptedEmailField, EncryptedTextField,
    )


    class Visible(models.Manager):
        def get_queryset(self):
            return super().get_queryset().none()


    class Person(models.Model):
        name = models.CharField(max_length=40)
        email = EncryptedEmailField()
        born = EncryptedDateField(null=True)
        about = EncryptedTextField()
        handle = models.CharField(max_length=9, unique=True)
        kind = models.CharField(max_length=9, choices=[("a", "A"), ("b", "B")])
        points = models.PositiveIntegerField()
        since = models.DateTimeField()
        changed = models.DateTimeField(auto_now=True)
        objects = Visible()

        def save(self, *args, **kwargs):
            raise RuntimeError("save() writes a mail")


    class Order(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        person = models.ForeignKey(Person, models.CASCADE)
        note = EncryptedCharField(max_length=100)


    class Passport(models.Model):
        number = models.CharField(max_length=30, primary_key=True)
        issued_to = EncryptedCharField(max_length=100)


    class Employee(Passport):
        salary = EncryptedTextField()


    class City(models.Model):
        name = models.CharField(max_length=40)


    def told(**_):
        raise RuntimeError("a handler writes a mail")


    post_save.connect(told, sender=Person)
"""
FIRST = {"models": ["shop.Person"]}
TABLES = ("shop_person", "shop_order", "shop_passport", "shop_employee")
EMPTY: dict[str, list] = {table: [] for table in TABLES}


class Shop:
    """The site on one database."""

    def __init__(self, folder, store, key):
        self.folder, self.store, self.key = folder, store, key
        write(folder, {
            "manage.py": SITE["manage.py"], "site_settings.py": SETTINGS, "shop/__init__.py": "",
            "shop/models.py": MODELS, "shop/migrations/__init__.py": "",
        })  # fmt: skip
        self.env = {
            "SITE_DATABASE": json.dumps(database_of(store, folder)), "PATH": os.environ["PATH"],
            "FIELD_ENCRYPTION_KEY": key.reveal(),
        }  # fmt: skip
        for words in (["makemigrations", "shop"], ["migrate"]):
            manage(folder, self.env, *words)

    def rows(self):
        return {table: self.store.run(f"SELECT * FROM {table}") for table in TABLES}

    def context(self, folder, *, key=None, url=None, **env):
        app = application(self.folder, **{**self.env, **env})
        secrets = {"key": (key or self.key).reveal()}
        made = context(self.folder, app=app, url=url or self.store.url, secrets=secrets, keys=["key"])
        return replace(made, run="production-1", step="new-data", folder=folder, before={"marker": "dg-0123456789ab"})


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def shop(request, tmp_path_factory, new_key):
    folder = tmp_path_factory.mktemp("shop")
    if request.param == "sqlite":
        store = sqlite_store(folder)
    else:
        server = request.getfixturevalue("postgres_server" if request.param == "postgresql" else "mariadb_server")
        name = f"shop{next(_NUMBERS)}"
        server.run(f"CREATE DATABASE {name}")
        store = Store(request.param, server.url(name), lambda: server.connect(name))
    yield Shop(folder, store, new_key())
    store.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory, new_key):
    """On SQLite, for what is the same on every product."""
    folder = tmp_path_factory.mktemp("local")
    store = sqlite_store(folder)
    yield Shop(folder, store, new_key())
    store.close()


@pytest.fixture
def person(shop):
    """A row that a foreign key may point to."""
    token = Keyring(shop.key).seal(b"ann@example.org").decode()
    values = (token, token, "", "a", "a", 1, "2001-01-01 00:00:00", "2001-01-01 00:00:00")
    shop.store.run(
        f"INSERT INTO shop_person (email, about, name, handle, kind, points, since, changed) VALUES ({', '.join('?' * 8)})",
        *values,
    )
    yield shop.store.run("SELECT max(id) FROM shop_person")[0][0]
    shop.store.run("DELETE FROM shop_person")


def test_rows_are_written_stored_as_tokens_read_back_and_removed(shop, person, tmp_path):
    before = shop.rows()
    seen = watched(shop, before)

    outcome = EncryptionRoundtrip(values={"shop.Order": {"person": person}}).execute(shop.context(tmp_path))

    assert outcome.status == "pass", outcome
    assert outcome.summary.startswith("shop.Person, shop.Order, shop.Passport, shop.Employee: 6 fields written")
    assert [model["tried"] for model in outcome.evidence["models"]] == [True] * 4
    assert shop.rows() == before
    assert list(tmp_path.iterdir()) == []
    assert seen() >= 1


def watched(shop, before):
    """Whether keys were used up: rows were really there, and are gone."""
    store = shop.store
    if store.product == "sqlite":
        ask = "SELECT seq FROM sqlite_sequence WHERE name = 'shop_person'"
    elif store.product == "postgresql":
        ask = "SELECT last_value FROM shop_person_id_seq"
    else:
        return lambda: 1  # the number is kept in memory
    [(first,)] = store.run(ask)
    return lambda: store.run(ask)[0][0] - first


def test_a_model_that_needs_a_row_of_another_is_named_and_the_others_are_tried(shop, tmp_path):
    outcome = EncryptionRoundtrip().execute(shop.context(tmp_path))

    assert outcome.status == "warn"
    assert "not tried: shop.Order needs person (a row of shop.Person)" in outcome.summary
    assert "values: { app.Model: { field: … } }" in outcome.hint
    assert shop.rows() == EMPTY


def test_a_row_that_the_database_refuses_is_named_and_nothing_stays(shop, tmp_path):
    if shop.store.product == "sqlite":
        pytest.skip("SQLite looks at foreign keys when the transaction ends, and then tells the same")

    outcome = EncryptionRoundtrip(values={"shop.Order": {"person": 999}}).execute(shop.context(tmp_path))

    assert outcome.status == "warn"
    assert "shop.Order is refused by a constraint of the database (IntegrityError)" in outcome.summary
    assert shop.rows() == EMPTY


def test_an_application_with_another_key_is_found_and_its_row_removed(shop, tmp_path, new_key):
    with pytest.raises(StepFailed, match=r"shop\.Person\.email: what is stored is a token that no given key") as raised:
        EncryptionRoundtrip(**FIRST).execute(shop.context(tmp_path, key=new_key()))

    assert "secrets: and django: env:" in raised.value.hint
    assert shop.rows() == EMPTY


def test_an_application_on_another_database_is_found(local, tmp_path):
    elsewhere = sqlite_store(tmp_path)
    elsewhere.run("CREATE TABLE shop_person (id int PRIMARY KEY, email text, born text, about text)")

    with pytest.raises(StepFailed, match="wrote the row to another database than the environment's"):
        EncryptionRoundtrip(**FIRST).execute(local.context(tmp_path, url=elsewhere.url))

    assert local.rows() == EMPTY
    elsewhere.close()


def test_an_application_that_writes_with_an_older_key_is_found(local, tmp_path, new_key):
    newest = new_key()
    here = local.context(tmp_path)
    secrets = {"new": newest.reveal(), "key": local.key.reveal()}
    both = context(local.folder, app=here.target.application, url=local.store.url, secrets=secrets, keys=["new", "key"])

    with pytest.raises(StepFailed, match="under an older key: the application does not write with the newest"):
        EncryptionRoundtrip(**FIRST).execute(replace(here, target=both.target))


@pytest.mark.parametrize(
    ("becomes", "says"),
    [
        ("'dg-0123456789ab@example.org'", "shop.Person.email: what is stored is not encrypted"),
        ("TOKEN", "shop.Person.email: the application does not read back what it wrote"),
        ("TOKEN", "shop.Person.email: the stored token holds something else than was written"),
        ("''", "shop.Person.email: what is stored is empty"),
    ],
)
def test_what_is_stored_is_judged_by_what_stands_there(local, tmp_path, becomes, says):
    becomes = becomes.replace("TOKEN", f"'{Keyring(local.key).seal(b'another').decode()}'")
    change = f"UPDATE shop_person SET email = {becomes} WHERE id = NEW.id"
    local.store.run(f"CREATE TRIGGER other AFTER INSERT ON shop_person BEGIN {change}; END")
    try:
        with pytest.raises(StepFailed, match=re.escape(says)):
            EncryptionRoundtrip(**FIRST).execute(local.context(tmp_path))
    finally:
        local.store.run("DROP TRIGGER other")

    assert local.rows() == EMPTY


def test_a_column_that_is_too_narrow_is_found(shop, tmp_path):
    if shop.store.product == "sqlite":
        pytest.skip("SQLite has no widths")
    alter = "ALTER COLUMN email TYPE" if shop.store.product == "postgresql" else "MODIFY email"
    # a lax MariaDB cuts the token and says nothing
    says = r"cannot write a row \(DataError\)" if shop.store.product == "postgresql" else "email: what is stored is not"
    shop.store.run(f"ALTER TABLE shop_person {alter} varchar(60)")
    try:
        with pytest.raises(StepFailed, match=says):
            EncryptionRoundtrip(**FIRST).execute(shop.context(tmp_path))
    finally:
        shop.store.run(
            f"ALTER TABLE shop_person {alter} {'text' if shop.store.product == 'postgresql' else 'longtext'}"
        )

    assert shop.rows() == EMPTY


# -- killed


KILLED = """
import os, runpy, signal, sys

script = sys.argv[1]
where = os.environ["KILL_WHERE"]
sys.argv = [script]
os.chdir(os.environ["SITE_FOLDER"])
from django.db.transaction import Atomic

committed = Atomic.__exit__


def dies(self, *args):
    if where == "after":
        committed(self, *args)
    os.kill(os.getpid(), signal.SIGKILL)


Atomic.__exit__ = dies
runpy.run_path(script, run_name="__main__")
"""


def killed(shop, folder, where):
    """The writer dies beside the commit of its row; the engine dies with it."""
    from deployguard.rows import roundtrip

    request = {
        "nonce": "0" * 32, "manage": str(shop.folder / "manage.py"),
        "requests": [{"do": "write", "marker": "dg-0123456789ab", "note": str(folder / "new-data.rows"),
                      "models": ["shop.Person"], "values": {}}],
    }  # fmt: skip
    env = {**shop.env, "KILL_WHERE": where, "SITE_FOLDER": str(shop.folder)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, roundtrip._SCRIPT], input=json.dumps(request), env=env, text=True,
        capture_output=True, check=False, cwd=shop.folder,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("then", ["resume", "rollback"])
def test_a_row_whose_writer_was_killed_is_removed_on_the_way_on_and_on_the_way_back(shop, tmp_path, where, then):
    killed(shop, tmp_path, where)
    assert len(shop.rows()["shop_person"]) == (where == "after")

    if then == "resume":
        EncryptionRoundtrip(**FIRST).execute(shop.context(tmp_path))
    else:
        EncryptionRoundtrip(**FIRST).compensate(shop.context(tmp_path))

    assert shop.rows() == EMPTY
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_has_taken_the_place_of_ours_is_left(local, tmp_path):
    killed(local, tmp_path, "after")
    token = Keyring(local.key).seal(b"ann@example.org").decode()
    local.store.run("UPDATE shop_person SET email = ?", token)
    before = local.rows()

    outcome = EncryptionRoundtrip(**FIRST).compensate(local.context(tmp_path))

    assert outcome.summary == "no row was left"
    assert local.rows() == before
    local.store.run("DELETE FROM shop_person")


def test_a_line_whose_writer_died_in_it_stands_for_no_row(local, tmp_path):
    (tmp_path / "new-data.rows").write_text('{"model": "shop.Per')

    assert EncryptionRoundtrip(**FIRST).compensate(local.context(tmp_path)).summary == "no row was left"


def test_a_row_that_cannot_be_removed_is_named_by_its_key(local, tmp_path):
    local.store.run("CREATE TRIGGER keep BEFORE DELETE ON shop_person BEGIN SELECT RAISE(ABORT, 'kept'); END")
    try:
        with pytest.raises(StepFailed, match=r"could not be removed: shop.Person \d+ \(IntegrityError\)") as raised:
            EncryptionRoundtrip(**FIRST).execute(local.context(tmp_path))
    finally:
        local.store.run("DROP TRIGGER keep")

    assert "Delete them by their primary keys" in raised.value.hint
    assert (
        EncryptionRoundtrip(**FIRST).compensate(local.context(tmp_path)).summary == "1 rows that were left are removed"
    )
    assert local.rows() == EMPTY


# -- refused


def test_a_model_that_has_no_encrypted_field_is_refused_and_those_that_have_are_named(local, tmp_path):
    for settings in ({"models": ["shop.City"]}, {"values": {"shop.City": {"name": "x"}}}):
        with pytest.raises(Refused, match=r"no model with an encrypted field named shop\.City") as raised:
            EncryptionRoundtrip(**settings).execute(local.context(tmp_path))
        assert raised.value.hint == "It has shop.Employee, shop.Order, shop.Passport, shop.Person."


def test_a_value_for_a_field_that_is_not_there_is_told(local, tmp_path):
    with pytest.raises(StepFailed, match=r"shop\.Person: the application cannot write a row \(has no field nam\)"):
        EncryptionRoundtrip(**FIRST, values={"shop.Person": {"nam": "x"}}).execute(local.context(tmp_path))


def test_a_key_that_is_somebodys_is_not_overwritten(local, tmp_path):
    token = Keyring(local.key).seal(b"ann").decode()
    local.store.run("INSERT INTO shop_passport VALUES ('7', ?)", token)
    step = EncryptionRoundtrip(models=["shop.Passport"], values={"shop.Passport": {"number": "7"}})

    with pytest.raises(StepFailed, match=r"no row could be written: shop\.Passport is refused by a constraint"):
        step.execute(local.context(tmp_path))

    assert local.rows()["shop_passport"] == [("7", token)]
    local.store.run("DELETE FROM shop_passport")


def test_before_a_run_nothing_is_written(local, tmp_path):
    with pytest.raises(Refused, match="this step writes to the database"):
        EncryptionRoundtrip(**FIRST).execute(replace(local.context(tmp_path), folder=None))

    assert EncryptionRoundtrip().preview(local.context(tmp_path)).rows == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"models": ["Person"]},
        {"models": "shop.Person"},
        {"values": {"Order": {"person": 1}}},
        {"values": {"shop.Order": 1}},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        EncryptionRoundtrip(**settings)
