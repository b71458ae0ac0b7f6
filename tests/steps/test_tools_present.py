"""`tools.present`: a program that is missing or too old is found before it is needed."""

import subprocess
from pathlib import Path

import pytest
from checking import context
from pydantic import ValidationError

from deployguard.steps.tools_present import ToolsPresent


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder of programs that stands alone on PATH, with git in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def programs(name, says):
        path = folder / name
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)

    programs("git", "git version 2.39.5")
    return programs


def check(folder, url=None, **settings):
    return ToolsPresent(**settings).execute(context(folder, url=url))


def test_this_machines_git_is_found_with_its_version(tmp_path):
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout

    outcome = check(tmp_path)

    assert outcome.status == "pass"
    assert outcome.evidence["tools"]["git"] in said


def test_a_program_that_is_missing_is_a_fault(tmp_path, programs):
    outcome = check(tmp_path, tools={"terraform": ""})

    assert (outcome.status, outcome.summary) == ("fail", "terraform is not installed")
    assert "Install terraform" in outcome.hint


@pytest.mark.parametrize(("least", "status"), [("1.9", "pass"), ("1.9.3", "pass"), ("1.10", "fail"), ("2", "fail")])
def test_versions_are_compared_as_numbers(tmp_path, programs, least, status):
    programs("tool", "tool 1.9.3 (build 77)")

    outcome = check(tmp_path, tools={"tool": least})

    assert outcome.status == status
    if status == "fail":
        assert outcome.summary == f"tool is 1.9.3, {least} is needed"


def test_a_program_that_does_not_tell_its_version_will_do_where_any_will(tmp_path, programs):
    programs("tool", "no idea")

    assert check(tmp_path, tools={"tool": ""}).status == "pass"
    assert check(tmp_path, tools={"tool": "1"}).status == "fail"


def test_a_newer_program_further_down_the_path_is_taken(tmp_path, programs, monkeypatch):
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "tool").write_text("#!/bin/sh\necho 'tool 2.0'\n")
    (newer / "tool").chmod(0o755)
    programs("tool", "tool 1.0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{newer}")

    assert check(tmp_path, tools={"tool": "2"}).evidence["tools"]["tool"] == "2.0"


def test_a_postgresql_client_must_be_as_new_as_its_server(tmp_path, programs, postgres, postgres_server):
    for name in ("pg_dump", "pg_restore"):
        programs(name, f"{name} (PostgreSQL) 9.6.24")
    outcome = check(tmp_path, postgres.url)
    assert outcome.status == "fail" or Path("/usr/lib/postgresql").is_dir(), outcome.summary

    for name in ("pg_dump", "pg_restore"):
        programs(name, f"{name} (PostgreSQL) 99.1")
    assert check(tmp_path, postgres.url).status == "pass"


def test_mariadb_or_mysql_clients_will_do_for_such_a_server(tmp_path, programs, mariadb):
    assert "mariadb-dump or mysqldump is not installed" in check(tmp_path, mariadb.url).summary

    programs("mysqldump", "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)")
    programs("mariadb", "mariadb  Ver 15.1 Distrib 10.11.6-MariaDB, for debian-linux-gnu")

    outcome = check(tmp_path, mariadb.url)

    assert outcome.evidence["tools"] == {"git": "2.39.5", "mysqldump": "8.0.36", "mariadb": "10.11.6"}


def test_sqlite_needs_no_client(tmp_path, programs, sqlite):
    assert list(check(tmp_path, sqlite.url).evidence["tools"]) == ["git"]


@pytest.mark.parametrize("least", ["new", "1.x", ">=2", "1."])
def test_a_version_that_means_nothing_is_refused(least):
    with pytest.raises(ValidationError):
        ToolsPresent(tools={"git": least})
