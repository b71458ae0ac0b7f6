"""`django.migration_locks`: a migration of a moment is told from one that keeps people waiting, on each product."""

import json
import os
import threading
import time

import pytest
from checking import SITE, application, context, write
from copies_site import database_of, manage
from pydantic import ValidationError
from servers import MariaServer, Store

from deployguard.databases import connect
from deployguard.databases.held import held
from deployguard.errors import Refused, StepFailed
from deployguard.steps.django_migration_locks import DjangoMigrationLocks

SETTINGS = """
    import json, os
    import pymysql

    pymysql.install_as_MySQLdb()
    SECRET_KEY = "only-for-tests"
    INSTALLED_APPS = ["shop"]
    DATABASES = {"default": json.loads(os.environ["SITE_DATABASE"])}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
INITIAL = """
    from django.db import migrations, models


    class Migration(migrations.Migration):
        initial = True
        operations = [
            migrations.CreateModel("Person", [
                ("id", models.BigAutoField(primary_key=True)),
                ("email", models.CharField(max_length=254)),
                ("note", models.CharField(max_length=254)),
            ]),
        ]
"""
LATER = """
    from django.db import migrations, models


    class Migration(migrations.Migration):
        dependencies = [("shop", "{before}")]
        operations = [{operation}]
"""
LATER_ONES = {
    "0002_wider": 'migrations.AlterField("person", "email", models.CharField(max_length=500))',
    "0003_number": 'migrations.AlterField("person", "note", models.TextField()), migrations.AlterField("person", "note", models.CharField(max_length=100))',
    "0004_code": "migrations.RunPython(lambda apps, editor: None)",
}  # fmt: skip
# the product's name for the first, and whether its change of a moment is one
MOMENT = {"postgresql", "mariadb"}


@pytest.fixture
def shop(store, tmp_path):
    before, files = "0001_initial", {"shop/migrations/0001_initial.py": INITIAL}
    for name, operation in LATER_ONES.items():
        files[f"shop/migrations/{name}.py"] = LATER.format(before=before, operation=operation)
        before = name
    folder = write(tmp_path / "shop", {
        "manage.py": SITE["manage.py"], "site_settings.py": SETTINGS, "shop/__init__.py": "",
        "shop/models.py": "from django.db import models\n", "shop/migrations/__init__.py": "", **files,
    })  # fmt: skip
    env = {"SITE_DATABASE": json.dumps(database_of(store, tmp_path)), "PATH": os.environ["PATH"]}
    manage(folder, env, "migrate", "shop", "0001")

    class Shop:
        def look(self, **settings):
            here = context(folder, app=application(folder, **env), url=store.url)
            return DjangoMigrationLocks(**{"app": "shop", "to": "0002", **settings}).execute(here)

        def migrate(self, to):
            manage(folder, env, "migrate", "shop", to)

    return Shop()


def fill(store, rows=20_000):
    if store.product == "postgresql":
        store.run(f"INSERT INTO shop_person (email, note) SELECT 'a', repeat('x', 90) FROM generate_series(1, {rows})")
        store.run("ANALYZE shop_person")
    elif store.product == "mariadb":
        store.run(f"INSERT INTO shop_person (email, note) SELECT 'a', repeat('x', 90) FROM seq_1_to_{rows}")
        store.run("ANALYZE TABLE shop_person")


def test_a_wider_varchar_is_a_matter_of_a_moment_but_on_sqlite(shop, store):
    fill(store)

    outcome = shop.look()

    assert outcome.status == "pass"
    [migration] = outcome.evidence["migrations"]
    works = {effect["work"] for effect in migration["effects"]}
    assert works == ({"moment"} if store.product in MOMENT else {"rewrite", "moment"})
    assert "shop.0002_wider: one table is locked for a moment" in outcome.summary


def test_what_takes_longer_than_wanted_fails_with_table_size_and_time(shop, store):
    fill(store)
    shop.migrate("0002")

    long = shop.look(to="0003", at_most="100ms")
    enough = shop.look(to="0003", at_most="1h")

    assert (long.status, enough.status) == ("fail", "pass")
    assert "shop.0003_number: shop_person (" in long.summary
    kept = "read or written" if store.product == "postgresql" else "written"
    assert f"cannot be {kept} for about " in long.summary
    assert "'rehearse' measures it" in long.hint
    assert shop.look(to="0003", at_most="100ms", on_excess="warn").status == "warn"


def test_all_that_is_to_come_is_looked_at_and_what_was_applied_is_not(shop):
    shop.migrate("0002")

    outcome = shop.look(to="0004", at_most="1h")

    assert [m["name"] for m in outcome.evidence["migrations"]] == ["shop.0003_number", "shop.0004_code"]
    assert outcome.status == "warn"
    assert "shop.0004_code: it runs Python code" in outcome.summary
    assert "by hand" in outcome.hint


def test_when_all_is_applied_nothing_is_to_come(shop):
    shop.migrate("0002")

    assert (shop.look().status, shop.look().summary) == ("pass", "no migration is to come")


def test_a_migration_that_is_not_there_yet_is_a_warning(shop):
    outcome = shop.look(to="0063")

    assert outcome.status == "warn"
    assert outcome.summary == "shop 0063 comes with code that is not there yet"
    assert shop.look(app="web").summary == "web 0002 comes with code that is not there yet"


def test_looking_changes_nothing(shop, store):
    shop.look(to="0004")

    assert store.run("SELECT count(*) FROM django_migrations") == [(1,)]


def test_an_application_that_does_not_say_is_a_failure(shop):
    with pytest.raises(StepFailed, match="More than one migration matches '00'") as raised:
        shop.look(to="00")

    assert "manage.py migrate shop 00 --plan' to see all it says" in raised.value.hint


def test_without_a_database_it_is_refused(tmp_path):
    with pytest.raises(Refused, match="has no database"):
        DjangoMigrationLocks(app="shop", to="0002").execute(context(tmp_path))


# -- who holds a table now


@pytest.fixture
def holder(store):
    other = store.another()
    yield other
    other.close()


def eventually(ask, wanted):
    until = time.monotonic() + 20
    while not wanted(seen := ask()):
        assert time.monotonic() < until, seen
        time.sleep(0.05)
    return seen


def test_a_session_that_holds_the_table_is_a_fault_on_postgresql(shop, store, holder):
    if store.product != "postgresql":
        pytest.skip("only PostgreSQL always says who holds what")
    holder.run("BEGIN")
    holder.run("SELECT count(*) FROM shop_person")

    outcome = eventually(lambda: shop.look(held_for="100ms"), lambda seen: seen.status == "fail")
    patient = shop.look(held_for="1h")
    holder.run("ROLLBACK")

    assert "shop_person is held by 1 sessions now, the oldest for" in outcome.summary
    assert "database.quiet" in outcome.hint
    assert (patient.status, shop.look(held_for="100ms").status) == ("pass", "pass")


class Talkative(MariaServer):
    options = ("--performance-schema=ON", "--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON")


def test_mariadb_says_who_holds_a_table_where_it_was_told_to_watch(tmp_path):
    server = Talkative()
    try:
        server.run("CREATE DATABASE shop")
        store, other = (Store("mariadb", server.url("shop"), lambda: server.connect("shop")) for _ in range(2))
        store.run("CREATE TABLE person (id int PRIMARY KEY) ENGINE=InnoDB")
        database = connect(store.url, base=tmp_path, read_only=True)
        assert held(database, "mariadb", "person").sessions == 0
        other.run("BEGIN")
        other.run("SELECT * FROM person")

        waiting = threading.Thread(target=store.run, args=["ALTER TABLE person ADD COLUMN age int"])
        waiting.start()

        assert eventually(lambda: held(database, "mariadb", "person").sessions, lambda seen: seen >= 1)
        other.run("ROLLBACK")
        waiting.join()
        database.close()
    finally:
        server.stop()


def test_where_nobody_can_tell_nothing_is_claimed(store, opened):
    store.run("CREATE TABLE person (id int PRIMARY KEY)")
    database = opened(store, read_only=True)

    seen = held(database, database.identity().engine, "person")

    assert (seen is None) == (store.product != "postgresql")


@pytest.mark.parametrize(
    "settings", [{}, {"app": "web"}, {"at_most": 0}, {"at_most": "long"}, {"on_excess": "ignore"}, {"held_for": "old"}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        DjangoMigrationLocks(**({"app": "web", "to": "0002"} if "app" not in settings and settings else {}), **settings)
