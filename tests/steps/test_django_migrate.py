"""`django.migrate`: the schema forward to a migration, and back to where it was; never back by mistake."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
from checking import SITE, application, context, write

from deployguard.errors import Refused, StepFailed
from deployguard.steps.django_migrate import DjangoMigrate

ADD = """
    from django.db import migrations, models


    class Migration(migrations.Migration):
        dependencies = [("shop", "{before}")]
        operations = [migrations.AddField("Person", "{field}", models.TextField(default=""))]
"""
BREAK = """
    from django.db import migrations


    class Migration(migrations.Migration):
        dependencies = [("shop", "0003_phone")]
        operations = [migrations.RunSQL("SELECT * FROM nowhere")]
"""
MIGRATIONS = {
    "shop/migrations/0002_email.py": ADD.format(before="0001_initial", field="email"),
    "shop/migrations/0003_phone.py": ADD.format(before="0002_email", field="phone"),
    "shop/migrations/0004_broken.py": BREAK,
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A site whose schema is at 0001."""
    folder = write(tmp_path_factory.mktemp("site"), {**SITE, **MIGRATIONS})
    subprocess.run([sys.executable, "manage.py", "migrate", "shop", "0001", "-v", "0"], cwd=folder, check=True)
    return folder


@pytest.fixture
def site(pristine, tmp_path):
    write(tmp_path, {**SITE, **MIGRATIONS})
    (tmp_path / "site.db").write_bytes((pristine / "site.db").read_bytes())
    return context(tmp_path, app=application(tmp_path))


def columns(site):
    with closing(sqlite3.connect(site.target.directory / "site.db")) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(shop_person)")]


def to(number):
    return DjangoMigrate(app="shop", to=number)


def test_the_schema_goes_forward_and_what_was_applied_goes_on_record(site):
    outcome = to("0003").execute(site)

    assert columns(site) == ["id", "name", "email", "phone"]
    assert outcome.evidence == {
        "app": "shop", "from": "0001_initial", "to": "0003_phone",
        "applied": ["0002_email", "0003_phone"], "undone": [],
    }  # fmt: skip
    assert to("0003").is_done(site)


def test_the_undo_goes_back_to_where_the_schema_was_and_twice_is_the_same_as_once(site):
    before = replace(site, before=to("0003").capture(site))
    to("0003").execute(site)

    to("0003").compensate(before)
    again = to("0003").compensate(before)

    assert columns(site) == ["id", "name"]
    assert again.summary == "shop is at 0001_initial"


def test_a_schema_that_is_past_the_migration_is_not_taken_back(site):
    to("0003").execute(site)

    with pytest.raises(Refused, match="shop is past 0002 already: 0003_phone would be undone") as refused:
        to("0002").execute(site)

    assert refused.value.hint.startswith("Say to: 0003 in the runbook")
    assert columns(site) == ["id", "name", "email", "phone"]
    assert to("0002").preview(site).summary == "shop is past 0002 already, at 0003_phone"


def test_a_rollback_of_ones_own_may_say_that_it_goes_backwards(site):
    to("0003").execute(site)

    outcome = DjangoMigrate(app="shop", to="0002", backwards=True).execute(site)

    assert outcome.evidence["undone"] == ["0003_phone"]
    assert columns(site) == ["id", "name", "email"]


def test_a_migration_that_fails_is_told_with_its_last_words_and_leaves_the_schema_before_it(site):
    with pytest.raises(StepFailed, match="migrate shop 0004: exit status 1") as failed:
        to("0004").execute(site)

    assert "no such table: nowhere" in failed.value.tail
    assert failed.value.command_exit == 1
    assert columns(site) == ["id", "name", "email", "phone"]
    assert not to("0004").is_done(site)


def test_looking_ahead_names_the_migrations_and_changes_nothing(site):
    preview = to("0003").preview(site)

    assert (preview.verdict, preview.summary) == ("would run", "shop → 0003: 0002_email, 0003_phone")
    assert to("0001").preview(site).verdict == "already done"
    assert to("0009").preview(site).summary == "shop 0009 comes with code that is not there yet"
    assert columns(site) == ["id", "name"]


def test_zero_is_the_schema_without_the_app(site):
    to("zero").execute(site)

    assert columns(site) == []
    assert to("zero").is_done(site)


def test_an_application_that_does_not_start_is_told_with_how_to_see_why(site):
    (site.target.directory / "manage.py").write_text("raise RuntimeError('cannot start')\n")

    with pytest.raises(StepFailed, match="RuntimeError: cannot start") as failed:
        to("0003").capture(site)

    assert "manage.py showmigrations shop --list" in failed.value.hint
