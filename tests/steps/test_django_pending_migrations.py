"""`django.pending_migrations`: a forgotten, conflicting or missing migration is found, and nothing is written."""

import subprocess
import sys

import pytest
from checking import SITE, application, context, write
from pydantic import ValidationError

from deployguard.errors import StepFailed
from deployguard.steps.django_pending_migrations import DjangoPendingMigrations

MIGRATION = """
    from django.db import migrations


    class Migration(migrations.Migration):
        dependencies = [("shop", "{after}")]
        operations = [migrations.RunPython(migrations.RunPython.noop)]
"""


def migration(folder, name, after="0001_initial"):
    write(folder, {f"shop/migrations/{name}.py": MIGRATION.replace("{after}", after)})


@pytest.fixture
def site(tmp_path):
    folder = write(tmp_path / "site", SITE)
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=folder, check=True, capture_output=True)
    return folder


def check(folder, **settings):
    return DjangoPendingMigrations(**settings).execute(context(folder, app=application(folder)))


def test_a_site_with_every_migration_applied_passes(site):
    outcome = check(site)

    assert outcome.status == "pass"
    assert outcome.evidence == {"migrations": 1, "pending": []}


def test_a_migration_that_is_not_applied_is_a_fault(site):
    migration(site, "0002_more")

    outcome = check(site)

    assert (outcome.status, outcome.summary) == ("fail", "not applied: shop.0002_more")
    assert "expected:" in outcome.hint


def test_migrations_that_the_run_brings_itself_may_be_pending_and_no_others(site):
    migration(site, "0002_more")

    assert check(site, expected=["shop.0002_more"]).status == "pass"

    migration(site, "0003_again", after="0002_more")

    assert check(site, expected=["shop.0002_more"]).summary == "not applied: shop.0003_again"


def test_migrations_that_conflict_are_a_fault(site):
    migration(site, "0002_mine")
    migration(site, "0002_theirs")

    outcome = check(site)

    assert outcome.status == "fail"
    assert "migrations conflict: 0002_mine, 0002_theirs in shop" in outcome.summary
    assert "makemigrations --merge" in outcome.hint


def test_a_model_that_has_changed_without_a_migration_is_a_fault(site):
    text = (site / "shop/models.py").read_text()
    (site / "shop/models.py").write_text(text + "    age = models.IntegerField(null=True)\n")

    outcome = check(site)

    assert (outcome.status, outcome.summary) == ("fail", "models have changed without a migration: shop")


def test_nothing_is_written(site):
    migration(site, "0002_more")
    text = (site / "shop/models.py").read_text()
    (site / "shop/models.py").write_text(text + "    age = models.IntegerField(null=True)\n")
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}

    check(site)

    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_an_application_that_does_not_start_fails_with_its_last_words(site):
    write(site, {"site_settings.py": "raise RuntimeError('no settings')"})

    with pytest.raises(StepFailed, match="RuntimeError: no settings") as failed:
        check(site)

    assert "makemigrations --check" in failed.value.hint


@pytest.mark.parametrize("expected", ["shop.0002_more", ["0002_more"], ["shop 0002"]])
def test_names_that_are_no_migrations_are_refused(expected):
    with pytest.raises(ValidationError):
        DjangoPendingMigrations(expected=expected)
