"""Two ways back: which is recommended and why, and what a restore takes before it may take anything."""

import json
import os
import pty
import sqlite3
import subprocess
import sys

import pytest

RUNBOOK = """
version: 1
name: shop
environments:
  production: { database: "sqlite:///shop.db" }
steps:
  - id: backup
    uses: backup.create
    with: { plain_reason: the disk is encrypted }
    rollback: { uses: backup.restore, when: requested }
  - id: mark
    run: [touch, marked]
    idempotent: true
    rollback: { run: [rm, marked] }
  - id: change
    run: [python, -c, "import sqlite3; c = sqlite3.connect('shop.db'); c.execute('UPDATE person SET name = 1'); c.commit()"]
    idempotent: true
"""


@pytest.fixture
def project(tmp_path):
    tmp_path.chmod(0o700)
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    sql(tmp_path, "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
    sql(tmp_path, "INSERT INTO person VALUES (1, 'Ann'), (2, 'Bob')")
    return tmp_path


def sql(project, statement):
    connection = sqlite3.connect(project / "shop.db", isolation_level=None)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def people(project):
    return [name for (name,) in sql(project, "SELECT name FROM person ORDER BY id")]


def environment():
    return {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}  # noqa: PTH120 - no link is followed


@pytest.fixture
def deployguard(project):
    """The command without a terminal: exit code, JSON document, what people read."""

    def deployguard(*words):
        done = subprocess.run(
            [sys.executable, "-m", "deployguard", *words, "--json"], cwd=project, env=environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout), done.stderr

    return deployguard


@pytest.fixture
def at_a_terminal(project):
    """The command at a terminal where somebody types one line: exit code, what was shown."""

    def at_a_terminal(*words, types):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "deployguard", *words], cwd=project, env=environment(), stdin=theirs, stdout=theirs,
            stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        os.write(ours, f"{types}\n".encode())
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the terminal's other end is closed
                break
        os.close(ours)
        return process.wait(60), shown.decode()

    return at_a_terminal


@pytest.fixture
def deployed(deployguard, project):
    code, done, said = deployguard("deploy", "--yes")
    assert code == 0, said
    sql(project, "INSERT INTO person VALUES (3, 'Cy')")
    return done["run"]


def recorded(deployguard):
    return deployguard("runs")[1]


def test_a_yes_alone_does_not_lose_rows(deployed, deployguard, project):
    before = recorded(deployguard)

    code, done, said = deployguard("rollback", "--via", "restore", "--yes")

    assert code == 3
    assert "takes away 3 rows that were added or changed since" in done["error"]["message"]
    assert "--confirm shop.db" in done["error"]["hint"]
    assert "person" in said
    assert people(project) == ["1", "1", "Cy"]
    assert (project / "marked").exists()
    assert recorded(deployguard) == before


@pytest.mark.parametrize("name", ["", "yes", "shop", "SHOP.DB", "production"])
def test_another_name_does_not_lose_rows(name, deployed, deployguard, project):
    code, _, _ = deployguard("rollback", "--via", "restore", "--yes", "--confirm", name)

    assert code == 3
    assert people(project) == ["1", "1", "Cy"]


def test_the_name_of_the_database_restores(deployed, deployguard, project):
    code, done, said = deployguard("rollback", "--via", "restore", "--confirm", "shop.db")

    assert code == 0
    assert done["state"] == "rolled_back"
    assert people(project) == ["Ann", "Bob"]
    assert not (project / "marked").exists()
    assert "3 rows" in said


def test_at_a_terminal_the_loss_is_shown_and_the_name_typed(deployed, at_a_terminal, project):
    code, shown = at_a_terminal("rollback", "--via", "restore", types="y")
    assert code == 3
    assert "type the database's name (shop.db)" in shown
    assert people(project) == ["1", "1", "Cy"]

    code, shown = at_a_terminal("rollback", "--via", "restore", types="shop.db")

    assert code == 0
    assert shown.index("person") < shown.index("type the database's name")
    assert people(project) == ["Ann", "Bob"]


def test_by_hand_the_same_is_asked(deployed, deployguard, at_a_terminal, project):
    name = deployguard("backup", "list")[1]["backups"][0]["backup"]

    assert deployguard("backup", "restore", name, "--yes")[0] == 3
    assert at_a_terminal("backup", "restore", name, types="y")[0] == 3
    assert people(project) == ["1", "1", "Cy"]
    code, done, _ = deployguard("backup", "restore", name, "--confirm", "shop.db")

    assert code == 0
    assert done["lost"] == {"person": {"added": 1, "changed": 2, "removed": 0}}
    assert people(project) == ["Ann", "Bob"]


def test_where_nothing_is_lost_a_yes_is_enough(deployguard, project):
    taken = deployguard("backup", "create")[1]

    assert deployguard("backup", "restore", taken["backup"])[0] == 3
    assert deployguard("backup", "restore", taken["backup"], "--yes")[0] == 0


def test_a_backup_that_is_damaged_stops_the_rollback_before_anything_is_undone(deployed, deployguard, project):
    dump = next((project / ".deployguard/backups").glob("*/database.sqlite3"))
    dump.write_bytes(dump.read_bytes()[:-1])

    code, done, _ = deployguard("rollback", "--via", "restore", "--confirm", "shop.db")

    assert code == 8
    assert "bytes long" in done["error"]["message"]
    assert (project / "marked").exists()
    assert people(project) == ["1", "1", "Cy"]


@pytest.mark.parametrize("to", ["backup", "mark"])
def test_a_part_of_the_run_that_has_no_backup_in_it_is_not_restored(to, deployed, deployguard, project):
    code, done, _ = deployguard("rollback", "--via", "restore", "--to", to, "--confirm", "shop.db")

    assert code == 3
    assert "no backup to restore" in done["error"]["message"]
    assert people(project) == ["1", "1", "Cy"]


def test_a_rollback_that_was_killed_after_the_agreement_is_not_asked_for_it_again(deployed, deployguard, project):
    runbook = project / "runbook.yaml"
    runbook.write_text(runbook.read_text())  # what is undone is the recorded definition
    (project / "marked").unlink()  # its undo fails
    code, done, _ = deployguard("rollback", "--via", "restore", "--confirm", "shop.db")
    assert (code, done["state"]) == (5, "rollback_incomplete")
    assert people(project) == ["Ann", "Bob"]
    (project / "marked").touch()

    code, done, _ = deployguard("rollback", "--via", "restore", "--yes")

    assert (code, done["state"]) == (0, "rolled_back")
    assert people(project) == ["Ann", "Bob"]


def test_the_way_that_is_recommended_is_said_with_the_reason(deployed, deployguard):
    _, _, said = deployguard("rollback", "--yes")

    assert "recommended: --via decrypt, since nothing was rewritten in the database" in said
