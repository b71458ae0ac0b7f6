"""The sample site of `make demo` with few people in it: a working copy, a database, a key and a runbook.

Everything is real: git, Django, SQLite, and deployguard as a process of its own.
"""

import base64
import ctypes
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
import build_demo  # noqa: E402 - scripts of the examples, not a package
import seed as seeding  # noqa: E402

ENVIRONMENTS = ("staging", "production")
PEOPLE = {"PROFILES": 60, "DONATIONS": 40, "ORDERS": 30, "REQUESTS": 40, "VOTES": 20}
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


class SmallSite:
    """A folder with `runbook.yaml` in it, and for each environment a working copy with its database."""

    def __init__(self, root):
        self.root = root
        self.runbook = root / "runbook.yaml"
        self.home = root / ".deployguard"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in ENVIRONMENTS:
            prefix = "STAGING_" if name == "staging" else ""
            self.env |= {
                f"{name.upper()}_DIRECTORY": str(self.copy(name)),
                f"{prefix}DATABASE_URL": f"sqlite:///{self.database(name)}",
                f"{prefix}MESSAGE_ENCRYPTION_KEY": self.key(name),
            }

    def copy(self, name="staging"):
        return self.root / name

    def database(self, name="staging"):
        return self.copy(name) / "db.sqlite3"

    def key(self, name="staging"):
        return (self.root / "keys" / f"{name}.key").read_text("ascii").strip()

    def write(self, text):
        self.runbook.write_text(text, "utf-8")

    def start(self, *arguments, **options):
        """deployguard, stopped by file permissions even where the tests run as root."""
        return subprocess.Popen(
            [sys.executable, "-m", "deployguard", *arguments], cwd=self.root, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=_bow_to_permissions,  # noqa: PLW1509 - two system calls, no lock
            **options,
        )  # fmt: skip

    def run(self, *arguments):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def git(self, *arguments, name="staging"):
        build_demo.git(*arguments, at=self.copy(name))

    def untouchable(self, name="staging"):
        """What only a deployment may change: what is checked out, and every byte of the database."""
        git = ["git", "-C", self.copy(name)]
        ask = [["rev-parse", "HEAD"], ["status", "--porcelain"]]
        answers = [subprocess.run([*git, *a], capture_output=True, text=True, check=True).stdout for a in ask]
        return [*answers, digest(self.database(name))]

    def artefacts(self):
        """All that deployguard has left: its folder and its reports."""
        return [p for folder in (self.home, self.root / "reports") for p in folder.rglob("*") if p.is_file()]


def _bow_to_permissions():
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def build(root):
    """Both environments one commit before encryption, with the guide's runbook; takes seconds, so copy it."""
    build_demo.make_origin(root)
    for name in ENVIRONMENTS:
        build_demo.clone(root, name)
        build_demo.make_key(root, name)
        (root / name / ".venv").symlink_to(sys.prefix)
    database = build_demo.migrate(root / ENVIRONMENTS[0])
    for name in ENVIRONMENTS[1:]:
        shutil.copyfile(database, root / name / database.name)
    with patch.multiple(seeding, **PEOPLE):
        for name in ENVIRONMENTS:
            seeding.main(str(root / name / database.name), str(root / "keys" / f"{name}.key"), name)
    shutil.copy(ROOT / "runbook.yaml", root)
    return SmallSite(root)


def copied(site, root):
    """A site of its own, to be spoilt."""
    shutil.copytree(site.root, root, symlinks=True)
    return SmallSite(root)


def digest(path):
    """Of a file; of what SQLite would still read from the files beside a database, too."""
    found = hashlib.sha256()
    for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))):
        if part.exists():
            found.update(part.name.encode() + part.read_bytes())
    return found.hexdigest()


def new_key():
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def at_new_code(site, name="staging"):
    """The working copy as after `git.update` and `django.migrate`: the code that encrypts, nothing encrypted."""
    site.git("merge", "--quiet", "--ff-only", "origin/main", name=name)
    env = {"PATH": os.environ["PATH"], "MESSAGE_ENCRYPTION_KEY": site.key(name)}
    build_demo.run(".venv/bin/python", "manage.py", "migrate", "--verbosity", "0", at=site.copy(name), env=env)


def narrow(database, table, column, width):
    """Give a column a declared width that its tokens do not fit into."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", [table]).fetchone()
        narrowed, count = re.subn(rf'"{column}" varchar\(\d+\)', f'"{column}" varchar({width})', sql)
        assert count == 1, sql
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", [narrowed, table])
    connection.close()
