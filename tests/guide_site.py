"""The sample site of `make demo` for tests: a clone's folder with two environments, one of them done."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
import build_demo  # noqa: E402 - a script of the examples, not a package

COLUMNS = {
    "web_profile": [
        *("first_name", "last_name", "email", "discord_username", "slack_username", "github_username"),
        "stripe_account_id",
    ],
    "web_donation": ["email"],
    "web_order": ["shipping_address"],
    "web_webrequest": ["ip_address"],
    "web_featurevote": ["ip_address"],
}
QUICK = ["--set", "watch=1s", "--set", "watch_every=1s", "--set", "rehearse=yes"]


class Site:
    """A copy of the demo: two environments and the `deployguard` that knows them."""

    def __init__(self, root):
        self.root = root

    def start(self, *arguments):
        return subprocess.Popen(
            [self.root / "demo/deployguard", *arguments], cwd=self.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments):
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def deploy(self, environment):
        code, said = self.run("deploy", "--env", environment, "--yes", *QUICK)
        assert code == 0, said

    def database(self, environment):
        return closing(sqlite3.connect(self.root / "demo" / environment / "db.sqlite3", timeout=30))

    def key(self, environment):
        return Fernet((self.root / f"demo/keys/{environment}.key").read_bytes().strip())

    def rows(self, environment):
        """Every value of every table as stored, by table, primary key and column; not what Django says of itself."""
        stored = {}
        with self.database(environment) as connection:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'web_%'")
            for (table,) in tables.fetchall():
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                values = ", ".join(f"CAST({name} AS BLOB), typeof({name})" for name in names)
                for row in connection.execute(f"SELECT id, {values} FROM {table}"):
                    stored[table, row[0]] = dict(zip(names, zip(row[1::2], row[2::2], strict=True), strict=True))
        return stored

    def place(self, environment):
        """Where code and schema stand, and what deployguard has left in the database."""
        with self.database(environment) as connection:
            migrations = connection.execute("SELECT app, name FROM django_migrations ORDER BY id").fetchall()
            ours = connection.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'deployguard%'").fetchall()
            schema = {
                table: {row[1:4] for row in connection.execute(f"PRAGMA table_info({table})")} for table in COLUMNS
            }
        git = ["git", "-C", self.root / "demo" / environment]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
        return {"migrations": migrations, "schema": schema, "head": head, "dirty": dirty, "ours": ours}


def build(root):
    """The demo in `root`, which stands for a clone; downloads are shared with the real one."""
    (root / ".venv/bin").mkdir(parents=True)
    command = root / ".venv/bin/deployguard"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deployguard "$@"\n')
    command.chmod(0o755)
    shutil.copy(ROOT / "runbook.yaml", root)
    pip = ROOT / ".cache/pip"
    pip.mkdir(parents=True, exist_ok=True)
    (root / ".cache").mkdir()
    (root / ".cache/pip").symlink_to(pip)
    build_demo.main(root)
    return Site(root)


def copy_of(site, root):
    """Another clone in the same state; nothing in it points back."""
    shutil.copytree(site.root, root, symlinks=True)
    return Site(root)
