"""What a rehearsal finds, it finds on a copy: the real database keeps every byte."""

import re
from pathlib import Path

import pytest
from guide_site import QUICK, build_demo, copy_of

MIGRATION = "web/migrations/0063_add_encryption_to_personal_data.py"
SPOIL = """

def spoil(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("UPDATE web_profile SET last_name = {value} WHERE id % 1000 = 7")


Migration.operations.append(migrations.RunPython(spoil, migrations.RunPython.noop))
"""

LOSE = """

def keep(apps, schema_editor):
    pass


def lose(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("UPDATE web_profile SET email = substr(email, 1, 5)")


Migration.operations.append(migrations.RunPython(keep, lose))
"""


@pytest.fixture
def fresh(built, tmp_path):
    """The demo with nothing done yet."""
    return copy_of(built, tmp_path / "a clone")


def push(site, change):
    """A new commit that the next deployment will bring."""
    work = site.root / "work"
    build_demo.git("clone", "--quiet", str(site.root / "demo/origin.git"), str(work))
    change(work)
    build_demo.git(
        "commit", "--quiet", "--all", "--message", "Change something", at=work, date="2026-01-03T09:00:00+00:00"
    )
    build_demo.git("push", "--quiet", str(site.root / "demo/origin.git"), "main", at=work)
    for name in build_demo.ENVIRONMENTS:
        build_demo.git("remote", "set-url", "origin", str(site.root / "demo/origin.git"), at=site.root / "demo" / name)


def append(text):
    def change(work):
        with (work / MIGRATION).open("a", encoding="utf-8") as stream:
            stream.write(text)

    return change


def left_behind(site):
    return [p for p in (site.root / "demo/.deployguard").rglob("*rehears*") if "log" not in p.name]


def test_a_migration_that_changes_values_is_found_by_table_column_and_key(fresh):
    push(fresh, append(SPOIL.format(value="upper(last_name) || '!'")))
    before, place = fresh.rows("staging"), fresh.place("staging")

    code, said = fresh.run("deploy", "--env", "staging", "--yes", *QUICK)

    assert code == 1
    assert re.search(
        r"migrate changed what is stored: web_profile\.last_name: \d rows differ \(primary key 7, \d007", said
    )
    assert fresh.rows("staging") == before
    assert fresh.place("staging") == place
    assert left_behind(fresh) == []
    assert "(the copies are removed)" in said


def test_a_way_back_that_loses_something_is_found(fresh):
    push(fresh, append(LOSE))
    before = fresh.rows("staging")

    code, said = fresh.run("deploy", "--env", "staging", "--yes", *QUICK)

    assert code == 1
    assert "the way back changed what is stored: web_profile.email" in said
    assert fresh.rows("staging") == before


def test_an_application_that_is_not_on_the_copy_is_left_alone(fresh):
    runbook = fresh.root / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("url_in: DATABASE_URL", "url_in: SOMETHING_ELSE"))
    before = fresh.rows("staging")

    code, said = fresh.run("deploy", "--env", "staging", "--yes", *QUICK)

    assert code == 1
    assert "does not take its database from SOMETHING_ELSE" in said
    assert fresh.rows("staging") == before


def test_a_finished_rehearsal_has_left_nothing_and_told_how_long_each_step_took(staged):
    site, _ = staged
    report = next(Path(site.root / "reports").glob("staging-*.md")).read_text()

    assert left_behind(site) == []
    assert "tried on a copy: every value reads the same, every byte came back" in report
    assert "the copies are removed" in report
