"""A dry run changes no byte: not of the project, the working copy, its repository or the database."""

import json
import os
from hashlib import sha256
from itertools import count

import pytest
from small_site import at_new_code, new_key

from deployguard.steps import KINDS

ASKING = ["preflight", "plan --json", "deploy --dry-run"]
EVERY_KIND = """\
version: 1
name: every-kind
code: { remote: origin, branch: main }
django:
  env: { MESSAGE_ENCRYPTION_KEY: "${{ secrets.encryption_key }}" }
secrets:
  encryption_key: { from: env, name: STAGING_MESSAGE_ENCRYPTION_KEY }
environments:
  staging: { directory: staging, database: "sqlite:///staging/db.sqlite3" }
steps:
"""


def everything(root):
    """What stands under a folder: each name with its kind, mode and content. Links are not followed."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in [".", *names]):  # noqa: PTH118 - a link to a folder is a name
            if os.path.islink(path):  # noqa: PTH114
                found[path] = os.readlink(path)  # noqa: PTH115
            elif os.path.isdir(path):  # noqa: PTH112
                found[path] = oct(os.stat(path).st_mode)  # noqa: PTH116
            else:
                with open(path, "rb") as stream:  # noqa: PTH123
                    found[path] = oct(os.fstat(stream.fileno()).st_mode) + sha256(stream.read()).hexdigest()
    return found


def assert_same(before, after):
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == set()


def nothing_has_run(site):
    pass


def the_code_is_there(site):
    at_new_code(site)


def a_run_was_refused(site):
    good, site.env["STAGING_MESSAGE_ENCRYPTION_KEY"] = site.env["STAGING_MESSAGE_ENCRYPTION_KEY"], new_key()
    assert site.run("deploy", "--env", "staging", "--yes").returncode == 3
    site.env["STAGING_MESSAGE_ENCRYPTION_KEY"] = good


@pytest.mark.parametrize("made", [nothing_has_run, the_code_is_there, a_run_was_refused])
@pytest.mark.parametrize("asking", ASKING)
def test_asking_about_the_guide_changes_no_byte(site, asking, made):
    made(site)
    before = everything(site.root)

    done = site.run(*asking.split(), "--env", "staging")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was changed" in done.stdout + done.stderr
    assert_same(before, everything(site.root))


@pytest.mark.parametrize("made", [nothing_has_run, the_code_is_there])
def test_a_dry_run_of_every_kind_of_step_changes_no_byte(site, made):
    made(site)
    site.write(EVERY_KIND + examples())
    before = everything(site.root)

    done = site.run("plan", "--env", "staging", "--json")

    assert done.returncode == 0, done.stderr
    assert {step["uses"] for step in json.loads(done.stdout)["steps"]} == KINDS.keys()
    assert_same(before, everything(site.root))


def test_a_dry_run_does_not_need_to_write(site):
    for folder, _, names in os.walk(site.root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            if not os.path.islink(path):  # noqa: PTH114
                os.chmod(path, 0o444)  # noqa: PTH101
        os.chmod(folder, 0o555)  # noqa: PTH101

    done = site.run("plan", "--env", "staging")

    assert done.returncode == 0, done.stdout + done.stderr


def examples():
    """The example of each kind, as its documentation shows it; with an id of its own, and nobody else's host."""
    numbers = count(1)
    lines = []
    for kind in KINDS.values():
        example = kind.example.replace("https://example.org", "http://127.0.0.1:9")
        if kind.uses == "backup.restore":  # which stands in a step's rollback alone: here it is the step
            example = "- uses: backup.restore"
        keys = [line for line in example.splitlines() if not line.startswith("- id:")]
        keys[0] = keys[0].removeprefix("- ").strip()
        lines += [f"  - id: step{next(numbers)}", *(f"    {line.removeprefix('  ')}" for line in keys)]
    return "\n".join(lines)
