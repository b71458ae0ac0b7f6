"""A runbook that would rewrite rows before a backup was restored is refused when it is read, with the line and a way on."""

import pytest

from deployguard.errors import RunbookError
from deployguard.runbook.load import load_runbook
from deployguard.secret_sources import SOURCES
from deployguard.steps import all_kinds

HEAD = """\
version: 1
name: encrypt
django: { database_in: DATABASE_URL }
environments: { staging: { database: "sqlite:///a" } }
vars: { tried: restore, other: "sqlite:///b" }
steps:
"""
BACKUP = "  - { id: backup, uses: backup.create, with: { plain_reason: a test, verify: restore } }\n"
ENCRYPT = "  - { id: encrypt, uses: encryption.encrypt, with: { } }\n"
B = ', database: "sqlite:///b"'


def on(step, database):
    return step.replace(", with:", f"{database}, with:")


@pytest.fixture
def load(tmp_path):
    def load(steps, *, begins=True):
        file = tmp_path / "runbook.yaml"
        file.write_text(HEAD + steps, "utf-8")
        return load_runbook(file, all_kinds(), SOURCES, begins=begins)

    return load


REFUSED = {
    "without a backup": (ENCRYPT, 7),
    "a decryption without one": (ENCRYPT.replace("encryption.encrypt", "encryption.decrypt"), 7),
    "the backup comes later": (ENCRYPT + BACKUP, 7),
    "it is only read back": (BACKUP.replace("verify: restore", "verify: read") + ENCRYPT, 8),
    "it is not tried at all": (BACKUP.replace("verify: restore", "verify: none") + ENCRYPT, 8),
    "it is of another database": (BACKUP + on(ENCRYPT, B), 8),
    "it is of a step's own database": (on(BACKUP, B) + ENCRYPT, 8),
    "the reason is empty": (ENCRYPT.replace("{ }", '{ without_backup: "  " }'), 7),
    "one of two steps": (ENCRYPT.replace("encrypt,", "early,", 1) + BACKUP + ENCRYPT, 7),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_rows_are_not_rewritten_before_a_backup_of_their_database_was_restored(load, steps, line):
    with pytest.raises(RunbookError) as caught:
        load(steps)

    (problem,) = caught.value.problems
    assert problem.line == line
    assert "rewrites rows, and no step above it takes a backup that is restored" in problem.message
    assert "backup.create with verify: restore above it" in problem.hint
    assert "without_backup" in problem.hint
    load(steps, begins=False)  # a run that has begun is gone on with, and taken back


ACCEPTED = {
    "after a backup": BACKUP + ENCRYPT,
    "restoring is the default": BACKUP.replace(", verify: restore", "") + ENCRYPT,
    "how far is known once an environment is chosen": BACKUP.replace("verify: restore", "verify: '${{ vars.tried }}'") + ENCRYPT,
    "which database is known once an environment is chosen": BACKUP + on(ENCRYPT, ', database: "${{ vars.other }}"'),
    "both of a step's own database": on(BACKUP, B) + on(ENCRYPT, B),
    "the step says why": ENCRYPT.replace("{ }", "{ without_backup: made up values }"),
    "a rotation: both keys open everything": ENCRYPT.replace("encryption.encrypt", "encryption.rotate"),
    "a way back": BACKUP.replace("backup.create", "run").partition("uses")[0] + "run: echo, rollback: { uses: encryption.decrypt } }\n",
}  # fmt: skip


@pytest.mark.parametrize("steps", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_backed_up_or_explained_is_a_valid_runbook(load, steps):
    load(steps)
