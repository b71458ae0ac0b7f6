"""Every use of a column that is to be encrypted is found by reading, and nothing that only looks like one."""

import sys
from pathlib import Path

import pytest
from site_source import FILES, expected

from deployguard.source.base import Column
from deployguard.source.usage import find_uses

sys.path.insert(0, str(Path(__file__).parents[1] / "steps"))
from checking import write

EMAIL = Column("web.Profile", "email", "web_profile", "email")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return write(tmp_path_factory.mktemp("site"), FILES)


@pytest.fixture(scope="module")
def usage(site):
    return find_uses(site, [EMAIL])


def test_all_uses_are_found_with_file_and_line_and_no_look_alike(site, usage):
    found = [(use.file, use.line, use.does, use.sure) for use in usage.uses]

    assert sorted(set(expected(site)) - set(found)) == [], "missed"
    assert sorted(set(found) - set(expected(site))) == [], "only looks like a use"
    assert len(found) == len(set(found))


def test_the_fixture_has_each_kind_of_use(site):
    kinds = {does for _, _, does, _ in expected(site)}

    assert {"filters on", "orders by", "groups by", "tells apart by", "joins on", "searches"} <= kinds
    assert {"makes unique", "indexes", "constrains", "looks up by", "names in SQL", "writes plaintext to"} <= kinds


def test_what_cannot_be_parsed_is_said(usage):
    assert usage.unread == ("old/python2.py",)
    assert usage.files > len(FILES) / 2


def test_the_column_of_the_other_application_is_told_apart(site):
    found = find_uses(site, [Column("accounts.Profile", "email", "accounts_profile", "email")])

    sure = {(use.file, use.does) for use in found.uses if use.sure}
    assert {
        ("accounts/models.py", "orders by"),
        ("accounts/views.py", "filters on"),
        ("accounts/tasks.py", "filters on"),
    } < sure
    assert not {use for use in found.uses if use.sure and use.file.startswith("web/")}


def test_what_an_abstract_parent_declares_counts_for_its_child(site):
    found = find_uses(site, [Column("web.Profile", "name", "web_profile", "name")])

    line = FILES["web/models.py"].splitlines().index('                ordering = ["name"]') + 1
    assert ("web/models.py", line, "orders by") in {(use.file, use.line, use.does) for use in found.uses if use.sure}


def test_nothing_is_imported(tmp_path):
    write(tmp_path, {"web/models.py": "raise SystemExit('imported')\n", "web/__init__.py": "1 / 0\n"})

    assert find_uses(tmp_path, [EMAIL]).uses == ()
    assert "web" not in sys.modules
