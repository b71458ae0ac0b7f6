"""`git.clean`: nothing but commits in the working copy."""

import pytest
from checking import context, git, working_copy

from deployguard.errors import Refused
from deployguard.steps.git_clean import GitClean


@pytest.fixture
def copy(tmp_path):
    return working_copy(tmp_path / "copy", {"code.py": "a = 1\n", ".gitignore": "*.db\n"})


def test_a_clean_copy_passes_and_its_commit_goes_on_record(copy):
    (copy / "site.db").touch()

    outcome = GitClean().execute(context(copy))

    assert outcome.status == "pass"
    assert outcome.evidence == {"commit": git(copy, "rev-parse", "HEAD"), "branch": "main"}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda copy: (copy / "code.py").write_text("a = 2\n"), "code.py"),
        (lambda copy: (copy / "code.py").unlink(), "code.py"),
        (lambda copy: (copy / "né w.py").touch(), "né w.py"),
        (lambda copy: git(copy, "mv", "code.py", "moved.py"), "code.py, moved.py"),
        (lambda copy: (copy / "code.py").chmod(0o755), "code.py"),
    ],
    ids=["edited", "deleted", "unknown", "renamed", "made executable"],
)
def test_anything_else_fails_by_name_and_is_left_as_it_is(copy, change, name):
    change(copy)
    before = git(copy, "status", "--porcelain")

    outcome = GitClean().execute(context(copy))

    assert outcome.status == "fail"
    assert outcome.summary.endswith(f"uncommitted in {copy}: {name}")
    assert "Commit, ignore or remove" in outcome.hint
    assert git(copy, "status", "--porcelain") == before


def test_many_files_are_counted_and_a_few_are_named(copy):
    for number in range(12):
        (copy / f"new{number:02}.py").touch()

    outcome = GitClean().execute(context(copy))

    assert outcome.summary.startswith(f"12 uncommitted in {copy}: new00.py")
    assert outcome.summary.endswith("and 7 more")
    assert len(outcome.evidence["changed"]) == 12


def test_a_folder_that_is_no_working_copy_is_refused(tmp_path):
    with pytest.raises(Refused, match="is not a git working copy"):
        GitClean().execute(context(tmp_path))
