"""Where routers spread the models over several databases, a step changes its own, and says which it does not."""

import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
from checking import MANAGE, application, context, write
from cryptography.fernet import Fernet

from deployguard.errors import Refused
from deployguard.steps.encryption_encrypt import EncryptionEncrypt
from deployguard.steps.encryption_plan import EncryptionPlan
from deployguard.steps.encryption_readiness import EncryptionReadiness
from deployguard.steps.encryption_verify import EncryptionVerify

SITE = {
    "manage.py": MANAGE,
    "site_settings.py": """
        import os
        SECRET_KEY = "only-for-tests"
        FIELD_ENCRYPTION_KEY = os.environ["FIELD_ENCRYPTION_KEY"]
        INSTALLED_APPS = ["shop"]
        DATABASES = {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"},
            "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": "archive.db"},
        }
        DATABASE_ROUTERS = ["shop.routers.Router"]
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    """,
    "shop/__init__.py": "",
    "shop/routers.py": """
        class Router:
            def db_for_write(self, model, **hints):
                return "archive" if model.__name__ == "Audit" else None
    """,
    "shop/models.py": """
        from django.db import models
        from encrypted_model_fields.fields import EncryptedTextField


        class Person(models.Model):
            name = EncryptedTextField()


        class Audit(models.Model):
            who = EncryptedTextField()
    """,
}


@pytest.fixture
def site(tmp_path):
    """Both databases have both tables, as `migrate` makes them where a router says nothing of it."""
    folder = write(tmp_path / "site", SITE)
    for name in ("site", "archive"):
        with closing(sqlite3.connect(folder / f"{name}.db")) as there, there:
            there.executescript(
                "CREATE TABLE shop_person (id INTEGER PRIMARY KEY, name TEXT NOT NULL);"
                "CREATE TABLE shop_audit (id INTEGER PRIMARY KEY, who TEXT NOT NULL);"
                f"INSERT INTO shop_person VALUES (1, 'Zoë of {name}'); INSERT INTO shop_audit VALUES (1, 'Ann of {name}')"
            )
    return folder


@pytest.fixture
def here(site):
    key = Fernet.generate_key().decode()

    def here(database):
        app = application(site, FIELD_ENCRYPTION_KEY=key)
        made = context(site, app=app, url=f"sqlite:///{database}", secrets={"key": key}, keys=["key"])
        return replace(made, run="run-1", step="encrypt", fence=1, began=time.time())

    return here


def plain(site, database):
    """What is not a token there."""
    with closing(sqlite3.connect(site / database)) as there:
        values = there.execute("SELECT name FROM shop_person UNION ALL SELECT who FROM shop_audit").fetchall()
    return [value for (value,) in values if not value.startswith("gAAAA")]


@pytest.mark.parametrize(
    ("database", "left"),
    [
        ("site.db", {"site.db": ["Ann of site"], "archive.db": ["Zoë of archive", "Ann of archive"]}),
        ("archive.db", {"site.db": ["Zoë of site", "Ann of site"], "archive.db": ["Zoë of archive"]}),
    ],
)
def test_only_the_columns_that_the_application_writes_there_are_encrypted(site, here, database, left):
    there = here(database)

    EncryptionEncrypt().execute(replace(there, before=EncryptionEncrypt().capture(there)))

    assert {name: plain(site, name) for name in left} == left


@pytest.mark.parametrize("step", [EncryptionPlan(), EncryptionReadiness(required=True)])
def test_columns_of_another_database_are_named(here, step):
    outcome = step.execute(here("site.db"))

    assert "not looked at, since they are in another database: shop_audit.who (archive)" in outcome.summary


def test_verifying_one_database_does_not_vouch_for_the_other(here):
    there = here("site.db")
    EncryptionEncrypt().execute(replace(there, before=EncryptionEncrypt().capture(there)))

    outcome = EncryptionVerify().execute(there)

    assert outcome.status == "warn"
    assert "shop_audit.who (archive)" in outcome.summary


def test_a_database_with_two_names_in_the_settings_is_one(site, here):
    """Its tables are encrypted under either name; those of another database are not."""
    settings, routers = site / "site_settings.py", site / "shop" / "routers.py"
    archive = '"archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": "archive.db"},'
    settings.write_text(
        settings.read_text("utf-8").replace(archive, archive + archive.replace("archive", "site")), "utf-8"
    )
    routers.write_text(routers.read_text("utf-8").replace('"archive"', '"site"'), "utf-8")
    there = here("site.db")

    EncryptionEncrypt().execute(replace(there, before=EncryptionEncrypt().capture(there)))

    assert (plain(site, "site.db"), plain(site, "archive.db")) == ([], ["Zoë of archive", "Ann of archive"])
    assert EncryptionVerify().execute(there).status == "pass"


def test_a_database_in_which_nothing_is_encrypted_is_refused_and_the_others_columns_named(site, here):
    (site / "shop" / "models.py").write_text(
        (site / "shop" / "models.py").read_text().replace("name = EncryptedTextField()", "name = models.TextField()")
    )

    with pytest.raises(Refused, match=r"encrypts no column of this database, but not looked at.*shop_audit.who"):
        EncryptionVerify().execute(here("site.db"))
