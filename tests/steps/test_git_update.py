"""`git.update`: the working copy at the run's commit, and back; nothing that only it has is lost."""

from dataclasses import replace

import pytest
from checking import commit, context, git, working_copy, write

from deployguard.errors import StepFailed
from deployguard.steps.git_update import GitUpdate


@pytest.fixture
def origin(tmp_path):
    return working_copy(tmp_path / "origin", {"code.py": "old = 1\n", ".gitignore": "*.db\n"})


@pytest.fixture
def copy(origin, tmp_path):
    """A clone from before the newest commit was made."""
    git(tmp_path, "clone", "--quiet", origin, "copy")
    write(origin, {"code.py": "new = 2\n", "more.py": "new = 3\n"})
    commit(origin, "Bring the new code")
    return tmp_path / "copy"


@pytest.fixture
def here(copy, origin):
    """The context of a run that is to bring the newest commit."""
    made = context(copy)
    return replace(made, target=replace(made.target, commit=git(origin, "rev-parse", "HEAD")))


def begun(here):
    return replace(here, before=GitUpdate().capture(here))


def head(copy):
    return git(copy, "rev-parse", "HEAD")


def test_the_commit_is_fetched_and_checked_out_on_the_same_branch(here, copy, origin):
    old = head(copy)

    outcome = GitUpdate().execute(begun(here))

    assert head(copy) == head(origin)
    assert (copy / "more.py").read_text() == "new = 3\n"
    assert git(copy, "symbolic-ref", "--short", "HEAD") == "main"
    assert outcome.outputs == {"commit": head(origin), "previous": old}
    assert outcome.evidence == {"from": old, "to": head(origin), "subject": "Bring the new code", "commits": 1}
    assert GitUpdate().is_done(here)


def test_the_undo_brings_back_the_commit_and_twice_is_the_same_as_once(here, copy):
    before, old = begun(here), head(copy)
    GitUpdate().execute(before)

    GitUpdate().compensate(before)
    GitUpdate().compensate(before)

    assert head(copy) == old
    assert (copy / "code.py").read_text() == "old = 1\n"
    assert not (copy / "more.py").exists()
    assert git(copy, "status", "--porcelain") == ""


def test_files_that_git_ignores_are_left_alone_on_both_ways(here, copy):
    (copy / "site.db").write_text("people")
    before = begun(here)

    GitUpdate().execute(before)
    GitUpdate().compensate(before)

    assert (copy / "site.db").read_text() == "people"


def test_a_commit_that_only_the_working_copy_has_is_not_left_behind(here, copy):
    write(copy, {"hotfix.py": "fix = 1\n"})
    commit(copy, "A hotfix made on the server")
    fixed = head(copy)

    with pytest.raises(StepFailed, match="does not contain") as failed:
        GitUpdate().execute(begun(here))

    assert "Merge or rebase" in failed.value.hint
    assert head(copy) == fixed


def test_an_edit_in_the_way_stops_the_update_and_is_kept(here, copy):
    (copy / "code.py").write_text("edited = 1\n")

    with pytest.raises(StepFailed, match="git merge failed"):
        GitUpdate().execute(begun(here))

    assert (copy / "code.py").read_text() == "edited = 1\n"


def test_an_edit_made_since_stops_the_undo_and_is_kept(here, copy, origin):
    before = begun(here)
    GitUpdate().execute(before)
    (copy / "code.py").write_text("edited = 1\n")

    with pytest.raises(StepFailed, match="git reset failed"):
        GitUpdate().compensate(before)

    assert (copy / "code.py").read_text() == "edited = 1\n"
    assert head(copy) == head(origin)


def test_a_commit_that_the_remote_does_not_have_is_told(here):
    unknown = replace(here, target=replace(here.target, commit="1" * 40))

    with pytest.raises(StepFailed, match="did not come with the fetch") as failed:
        GitUpdate().execute(begun(unknown))

    assert failed.value.hint == "Push it to the remote first."


def test_looking_ahead_names_both_commits_and_fetches_nothing(here, copy, origin):
    preview = GitUpdate().preview(here)

    assert preview.summary == f"{head(copy)[:12]} → {head(origin)[:12]}"
    assert preview.commands == ("git fetch origin", f"git merge --ff-only {head(origin)}")
    assert not (copy / ".git/FETCH_HEAD").exists()
