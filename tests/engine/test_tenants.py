"""The example for many tenants, carried out by real Django on a real database for each of them."""

import shutil
import signal
import sqlite3
import time
from contextlib import closing

import psycopg
import pytest
from small_site import ROOT, build_demo, digest

from deployguard.keys.keyring import Keyring
from deployguard.secret import Secret

TENANTS = ("acme", "globex", "initech")
DEPLOY = ("deploy", "--env", "production", "--skip", "dependencies", "--yes")
EMAILS = "SELECT id, email FROM web_donation ORDER BY id"
MANY = 4000
"""Rows of each tenant: enough for a run to be found in the middle of them."""


class Files:
    """Each tenant in a file of its own."""

    def __init__(self, site):
        self.folder = site.root / "tenants"
        self.folder.mkdir()
        self.server = f"sqlite:///{self.folder}"
        for tenant in TENANTS:
            shutil.copyfile(site.database("production"), self.folder / tenant)

    def ask(self, tenant, statement):
        with closing(sqlite3.connect(self.folder / tenant, timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()

    def close(self):
        """They go with the test's folder."""


class Databases:
    """Each tenant in a database of one server."""

    def __init__(self, site, server):
        self._server = server
        site.env["PATH"] = f"{server.programs}:{site.env['PATH']}"  # dumps are as new as the server
        self.server = server.url("").removesuffix("/")
        for tenant in TENANTS:
            server.run(f"CREATE DATABASE {tenant}")
            env = {**site.env, "DATABASE_URL": server.url(tenant)}
            build_demo.run(
                ".venv/bin/python", "manage.py", "migrate", "--verbosity", "0", at=site.copy("production"), env=env
            )

    def ask(self, tenant, statement):
        with self._server.connect(tenant) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def close(self):
        for tenant in TENANTS:
            self._server.run(f"DROP DATABASE IF EXISTS {tenant} WITH (FORCE)")


@pytest.fixture
def tenants(request, site):
    """The site in production, with three tenants who have each their own people."""
    shutil.copy(ROOT / "examples/tenants/runbook.yaml", site.runbook)
    if getattr(request, "param", "sqlite") == "sqlite":
        found = Files(site)
    else:
        found = Databases(site, request.getfixturevalue("postgres_server"))
    site.env |= {"DATABASE_SERVER": found.server, "TENANTS": ",".join(TENANTS)}
    for tenant in TENANTS:
        found.ask(tenant, "DELETE FROM web_donation")
        values = ", ".join(f"({n}, '{tenant}-{n}@example.org', 500, '2026-01-01 00:00:00')" for n in range(1, 51))
        found.ask(tenant, f"INSERT INTO web_donation (id, email, amount_cents, created_at) VALUES {values}")
    yield found
    found.close()


def plain(tenants):
    return {tenant: tenants.ask(tenant, EMAILS) for tenant in TENANTS}


def opened(tenants, site):
    """What the tokens say; an address that is none stays what it is."""
    keyring = Keyring(Secret(site.key("production"), name="key"))
    found = {}
    for tenant in TENANTS:
        rows = tenants.ask(tenant, EMAILS)
        seen = keyring.look([email.encode() for _, email in rows])
        found[tenant] = [
            (key, getattr(o, "plaintext", b"not a token").decode()) for (key, _), o in zip(rows, seen, strict=True)
        ]
    return found


def fences(tenants):
    return {tenants.ask(tenant, "SELECT fence FROM deployguard_fence")[0][0] for tenant in TENANTS}


def migrations(tenants):
    return {tenants.ask(t, "SELECT max(name) FROM django_migrations WHERE app = 'web'")[0][0][:4] for t in TENANTS}


@pytest.mark.parametrize("tenants", ["sqlite", "postgres"], indirect=True)
def test_every_tenant_is_encrypted_under_one_lease_and_no_other_database_is_touched(site, tenants):
    before, of_site = plain(tenants), digest(site.database("production"))

    done = site.run(*DEPLOY)

    assert done.returncode == 0, done.stdout + done.stderr
    assert opened(tenants, site) == before
    assert migrations(tenants) == {"0063"}
    assert len(fences(tenants)) == 1
    assert digest(site.database("production")) == of_site
    report = next((site.root / "reports").glob("production-*.md")).read_text()
    for tenant in TENANTS:
        assert f"`{tenant}: web_donation.email` | 50 | 50 → 0 | 0 → 50 |" in report

    done = site.run("rollback", "--env", "production", "--to", "migrate", "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    assert plain(tenants) == before


def unbacked(runbook):
    """The runbook, whose encrypt step may begin without a backup."""
    encrypt = "uses: encryption.encrypt\n"
    return runbook.replace(encrypt, f"{encrypt}    with: {{ without_backup: tenants that are made anew }}\n")


@pytest.mark.parametrize("tenants", ["sqlite", "postgres"], indirect=True)
def test_killed_while_several_are_at_work_each_goes_on_where_it_was(site, tenants):
    for tenant in TENANTS:
        values = ", ".join(f"({n}, 'x{n}@example.org', 500, '2026-01-01 00:00:00')" for n in range(100, 100 + MANY))
        tenants.ask(tenant, f"INSERT INTO web_donation (id, email, amount_cents, created_at) VALUES {values}")
    site.write(unbacked(site.runbook.read_text()))
    before = plain(tenants)
    process = site.start(*DEPLOY, "--skip", "backup")
    wait_until(lambda: under_way(tenants), process)

    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = site.run("deploy", "--resume", "--env", "production")

    assert done.returncode == 0, done.stdout + done.stderr
    assert opened(tenants, site) == before


def under_way(tenants):
    try:
        return len(tenants.ask("acme", "SELECT 1 FROM deployguard_checkpoint")) > 0
    except (sqlite3.Error, psycopg.Error):
        return False


def wait_until(happened, process):
    until = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def test_the_lease_is_newer_than_what_any_of_the_databases_has_seen(site, tenants):
    tenants.ask(
        "globex", "CREATE TABLE deployguard_fence (id INTEGER PRIMARY KEY CHECK (id = 1), fence INTEGER NOT NULL)"
    )
    tenants.ask("globex", "INSERT INTO deployguard_fence VALUES (1, 41)")

    done = site.run(*DEPLOY)

    assert done.returncode == 0, done.stdout + done.stderr
    assert fences(tenants) == {42}


def test_a_command_is_told_of_its_steps_database_where_the_application_is(site, tenants):
    ask = "import os, sqlite3; print(sqlite3.connect(os.environ['DATABASE_URL'][10:]).execute('SELECT max(email) FROM web_donation').fetchone())"
    step = f"""
  - id: look
    run: [python, -c, "{ask}"]
    idempotent: true
    matrix: {{ tenant: "${{{{ vars.tenants }}}}" }}
    database: ${{{{ vars.server }}}}/${{{{ matrix.tenant }}}}

after:"""
    site.write(site.runbook.read_text().replace("\nafter:", step))

    done = site.run("deploy", "--env", "production", "--only", "look", "--yes")

    assert done.returncode == 0, done.stdout + done.stderr
    for tenant in TENANTS:
        [log] = site.home.glob(f"runs/*/look[[]{tenant}].log")
        assert log.read_text() == f"('{tenant}-9@example.org',)\n"


def test_an_application_that_stands_on_another_database_is_left_alone(site, tenants):
    site.write(site.runbook.read_text().replace("database_in: DATABASE_URL", "database_in: SOMETHING_ELSE"))
    before, of_site = plain(tenants), digest(site.database("production"))

    done = site.run(*DEPLOY)

    assert done.returncode == 1
    assert "the application stands on " in done.stdout
    assert "Name the variable that it takes its database's URL from: database_in:" in done.stdout
    assert plain(tenants) == before
    assert migrations(tenants) == {"0062"}
    assert digest(site.database("production")) == of_site


def test_a_run_does_not_go_on_in_another_database_than_it_began_in(site, tenants):
    site.write(site.runbook.read_text().replace('to: "0063" }', 'to: "0064" }') + "\n")
    site.write(site.runbook.read_text().replace("production:\n", "production:\n    on_failure: stop\n"))
    assert site.run(*DEPLOY).returncode == 5
    site.env["DATABASE_SERVER"] = f"sqlite:///{site.root}/elsewhere"
    (site.root / "elsewhere").mkdir()
    for tenant in TENANTS:
        shutil.copyfile(site.database("staging"), site.root / "elsewhere" / tenant)

    done = site.run("deploy", "--resume", "--env", "production")

    assert done.returncode == 3, done.stdout + done.stderr
    assert "but step backup[acme]'s database is" in done.stderr


def test_a_restore_takes_back_the_tenants_that_have_a_backup_and_the_others_are_taken_back_step_by_step(site, tenants):
    text = site.runbook.read_text()
    backup = text[text.index("  - id: backup") : text.index("  - id: code")]
    text = text.replace(backup, backup.replace("${{ vars.tenants }}", "${{ vars.tenants[:2] }}"))
    site.write(unbacked(text))
    before = plain(tenants)
    assert site.run(*DEPLOY).returncode == 0

    named = ["--confirm", "globex", "--confirm", "acme"]
    done = site.run("rollback", "--env", "production", "--via", "restore", "--yes", *named)

    assert done.returncode == 0, done.stdout + done.stderr
    undone = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  undone")]
    assert undone == [
        "encrypt[initech]",
        "migrate[initech]",
        "code",
        "backup[globex]",
        "backup[acme]",
        "encrypt[initech]",
    ]
    assert plain(tenants) == before
    assert migrations(tenants) == {"0062"}
