"""A backup that is killed while it is tried: whichever way the run goes on, no copy of the data is left behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

RUNBOOK = """
version: 1
name: shop
environments:
  production: {{ database: "{url}" }}
steps:
  - id: first
    run: ["true"]
    rollback: {{ run: ["true"] }}
  - id: backup
    uses: backup.create
    with: {{ plain_reason: the disk is encrypted }}
"""


@pytest.fixture(params=["postgres", "mariadb"])
def store(request):
    store = request.getfixturevalue(request.param)
    store.run("CREATE TABLE person (id int PRIMARY KEY, name varchar(400))")
    store.run_many("INSERT INTO person VALUES (?, ?)", [(n, f"{n:0400}") for n in range(20_000)])
    return store


@pytest.fixture
def server(request, store):
    return request.getfixturevalue(f"{'mariadb' if store.product == 'mariadb' else 'postgres'}_server")


@pytest.fixture
def copies(store, server):
    """Names of the scratch databases that are on the server."""

    def copies():
        column, table = ("schema_name", "information_schema.schemata") if store.product == "mariadb" else (
            "datname", "pg_database",
        )  # fmt: skip
        found = store.run(f"SELECT {column} FROM {table}")
        return {name for (name,) in found if name.startswith("deployguard_")}

    return copies


@pytest.fixture
def deployguard(tmp_path, store, server):
    """Begin a command; its environment finds the server's own tools."""
    tmp_path.chmod(0o700)
    (tmp_path / "runbook.yaml").write_text(RUNBOOK.format(url=store.url))
    programs = getattr(server, "programs", None)
    path = f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"]

    def deployguard(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "deployguard", *arguments, "--json"], cwd=tmp_path,
            env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return deployguard


def result(process):
    said, errors = process.communicate(timeout=120)
    assert said, errors
    return process.returncode, json.loads(said)


@pytest.mark.parametrize("way", ["rollback", "resume"])
def test_no_copy_of_the_data_is_left_by_a_backup_that_was_killed(deployguard, copies, tmp_path, way):
    for _ in range(20):
        process = deployguard("deploy", "--yes")
        while not copies() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if copies():
            break
        # a busy machine may look, or kill, when the copy is gone again
        result(deployguard("rollback", "--yes"))
    assert copies()

    code, ended = result(deployguard("rollback", "--yes") if way == "rollback" else deployguard("deploy", "--resume"))

    assert (code, ended["state"]) == (0, "rolled_back" if way == "rollback" else "succeeded")
    assert copies() == set()
    assert not list(tmp_path.rglob("*.partial"))
