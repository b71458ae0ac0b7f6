"""Keys are found wherever git or the folder has them, and the search shows and changes nothing."""

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployguard.errors import StepTimedOut
from deployguard.keys.check import generate_key
from deployguard.keys.leaks import Limits, file_leaks, history_leaks, loose_leaks
from deployguard.keys.spellings import Spellings, pieces
from deployguard.secret import Secret

sys.path.insert(0, str(Path(__file__).parents[1] / "steps"))
from checking import commit, git, working_copy


@pytest.fixture
def key():
    return Secret(generate_key().reveal(), name="field_key")


@pytest.fixture
def copy(tmp_path):
    return working_copy(tmp_path / "site", {".gitignore": "*.secret\n", "readme": "hello\n"})


def limits(seconds=60.0):
    return Limits(time.monotonic() + seconds)


def in_history(copy, *keys):
    return [leak.where for leak in history_leaks(copy, Spellings(keys), limits())]


def in_files(copy, *keys):
    return [leak.where for leak in file_leaks(copy, Spellings(keys), limits())]


def raw(key):
    return base64.urlsafe_b64decode(key.reveal())


SPELLINGS = {
    "as it is": lambda key: key.reveal().encode(),
    "without its =": lambda key: key.reveal()[:-1].encode(),
    "the other base64": lambda key: base64.b64encode(raw(key)),
    "raw": raw,
    "hexadecimal": lambda key: raw(key).hex().encode(),
    "upper case": lambda key: raw(key).hex().upper().encode(),
    "base64 twice, as in Kubernetes": lambda key: base64.b64encode(key.reveal().encode()),
    "base64 twice, with a line break": lambda key: base64.b64encode(key.reveal().encode() + b"\n"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("before", [0, (1 << 20) - 7, (1 << 20) - 60])
def test_every_spelling_is_found_also_across_the_edge_of_a_chunk(tmp_path, key, spelling, before):
    path = tmp_path / "file"
    path.write_bytes(b"." * before + spelling(key) + b"." * 100)

    with path.open("rb") as file:
        assert Spellings([key]).names_in(pieces(file)) == {"field_key"}


def test_a_key_is_not_found_where_it_is_not(tmp_path, key):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 << 20) + key.reveal()[:-2].encode())

    with path.open("rb") as file:
        assert Spellings([key]).names_in(pieces(file)) == set()


def test_a_clean_working_copy_has_no_leak(copy, key):
    assert in_history(copy, key) == []
    assert in_files(copy, key) == []


def test_a_key_that_was_committed_and_taken_out_again_is_found(copy, key):
    (copy / ".env").write_text(f"KEY={key.reveal()}\n")
    commit(copy)
    git(copy, "rm", "--quiet", ".env")
    commit(copy)

    [where] = in_history(copy, key)

    assert "commit " in where
    assert "of main (.env)" in where
    assert in_files(copy, key) == []


def test_a_key_on_another_branch_is_found(copy, key):
    git(copy, "switch", "--quiet", "-c", "trial")
    (copy / "settings.py").write_text(f"KEY = '{key.reveal()}'\n")
    commit(copy)
    git(copy, "switch", "--quiet", "main")

    [where] = in_history(copy, key)

    assert "of trial (settings.py)" in where


@pytest.mark.parametrize("arguments", [(), ("--include-untracked",)], ids=["tracked", "untracked"])
def test_a_key_in_a_stash_is_found(copy, key, arguments):
    (copy / ("new" if arguments else "readme")).write_text(key.reveal())
    git(copy, "stash", "push", "--quiet", *arguments)

    [where] = in_history(copy, key)

    assert "of stash" in where


def test_a_key_in_a_tag_of_a_branch_that_is_gone_is_found(copy, key):
    git(copy, "switch", "--quiet", "-c", "trial")
    (copy / "key").write_text(key.reveal())
    commit(copy)
    git(copy, "tag", "v1")
    git(copy, "switch", "--quiet", "main")
    git(copy, "branch", "--quiet", "-D", "trial")

    [where] = in_history(copy, key)

    assert "of tags/v1 (key)" in where


def test_a_key_that_is_only_staged_is_found(copy, key):
    (copy / "key").write_text(key.reveal())
    git(copy, "add", "key")
    (copy / "key").write_text("")

    [where] = in_history(copy, key)

    assert "staged or left over" in where


def test_a_key_in_a_commit_message_is_found(copy, key):
    commit(copy, f"the key is {key.reveal()}")

    [where] = in_history(copy, key)

    assert where.startswith("the message of commit ")


def test_packed_and_compressed_history_is_read(copy, key):
    lines = "".join(f"line {n}\n" for n in range(20_000))
    for end in ("", key.reveal(), ""):
        (copy / "big").write_text(lines + end)
        commit(copy)
    git(copy, "gc", "--quiet", "--aggressive", "--prune=now")

    [where] = in_history(copy, key)

    assert "(big)" in where


def test_each_key_is_told_by_its_name(copy, key):
    older = Secret(generate_key().reveal(), name="older_key")
    (copy / "both").write_text(key.reveal() + older.reveal())
    commit(copy)

    leaks = list(history_leaks(copy, Spellings([key, older]), limits()))

    assert sorted(leak.key for leak in leaks) == ["field_key", "older_key"]


def test_files_are_judged_by_what_git_would_do_with_them(copy, key):
    for name, mode in {"open.secret": 0o644, "closed.secret": 0o600, "new": 0o600, "readme": 0o600}.items():
        (copy / name).write_text(key.reveal())
        (copy / name).chmod(mode)

    assert in_files(copy, key) == [
        "readme, which git ships to every copy",
        "new, which the next 'git add' would take",
        "open.secret, which others may read (mode 0644)",
    ]


def test_a_private_file_that_the_image_is_built_with_is_found(copy, key):
    (copy / "Dockerfile").write_text("FROM python\nCOPY . /app\n")
    (copy / "key.secret").write_text(key.reveal())
    (copy / "key.secret").chmod(0o600)

    assert in_files(copy, key) == ["key.secret, which the Dockerfile copies into the image"]

    (copy / ".dockerignore").write_text("*.secret\n")
    assert in_files(copy, key) == []


def test_what_is_no_file_or_leads_elsewhere_is_passed_over(copy, key, tmp_path):
    (tmp_path / "elsewhere").write_text(key.reveal())
    (copy / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(copy / "pipe")

    assert in_files(copy, key) == []
    assert list(loose_leaks(copy, Spellings([key]), limits())) == []


def test_files_beside_the_runbook_may_hold_a_key_only_if_they_are_private(tmp_path, key):
    for name, mode in {".env": 0o600, "notes": 0o640}.items():
        (tmp_path / name).write_text(key.reveal())
        (tmp_path / name).chmod(mode)

    [leak] = loose_leaks(tmp_path, Spellings([key]), limits())

    assert leak.where == "notes, which others may read (mode 0640)"
    assert "chmod 600 notes" in leak.fix


def test_the_key_is_in_no_command_line_and_nothing_is_changed(copy, key):
    (copy / "key").write_text(key.reveal())
    commit(copy)
    before = sorted((str(p), p.stat().st_mtime_ns) for p in copy.rglob("*"))
    seen = []

    def look(_):
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        seen.append(key.reveal() in listed)

    found = list(history_leaks(copy, Spellings([key]), Limits(time.monotonic() + 60, look)))

    assert found
    assert seen
    assert not any(seen)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in copy.rglob("*")) == before


def test_a_search_that_takes_too_long_is_no_answer(copy, key):
    with pytest.raises(StepTimedOut, match="not done in time"):
        list(history_leaks(copy, Spellings([key]), limits(-1)))
