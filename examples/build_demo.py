"""Builds `demo/`: the sample site as two environments see it, one commit before encryption.

    demo/origin.git               two commits, before and after, on branch main
    demo/staging, production      working copies at the first, each with interpreter and database
    demo/keys/                    a key for each
    demo/deployguard              deployguard, with what runbook.yaml asks of the environment

Standard library only. What takes long to make, the two interpreters, is kept in `.cache/`.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
SITE = EXAMPLES / "site"
BEFORE = EXAMPLES / "before"
# what the commit after brings; `before/` holds the files that it changes
ADDED = [
    "config/keys.py",
    "web/fields.py",
    "web/migrations/0063_add_encryption_to_personal_data.py",
    "web/tests/test_encryption.py",
]
ENVIRONMENTS = ["staging", "production"]
# tokens are written before the field package comes, which needs this too
BESIDE_REQUIREMENTS = "cryptography"
LEFT_BY_RUNNING = shutil.ignore_patterns("__pycache__", "app.log", "db.sqlite3*", ".venv")


def main(root: Path = EXAMPLES.parent) -> None:
    demo, cache = root / "demo", root / ".cache"
    if demo.exists():
        shutil.rmtree(demo)
    demo.mkdir()
    with ThreadPoolExecutor() as pool:
        environments = pool.map(lambda name: interpreter(cache, name), ENVIRONMENTS)
        make_origin(demo)
        for name in ENVIRONMENTS:
            clone(demo, name)
            make_key(demo, name)
        for name, made in zip(ENVIRONMENTS, environments, strict=True):
            (demo / name / ".venv").symlink_to(os.path.relpath(made, demo / name))
        migrated = migrate(demo / ENVIRONMENTS[0])
        for name in ENVIRONMENTS[1:]:
            shutil.copyfile(migrated, demo / name / migrated.name)
        list(pool.map(lambda name: seed(demo, name), ENVIRONMENTS))
    wrapper = demo / "deployguard"
    wrapper.write_text(WRAPPER, "utf-8")
    wrapper.chmod(0o755)


# -- code


def lay_out(into: Path, *, after: bool) -> None:
    """The site's files, after or before encryption."""
    shutil.copytree(SITE, into, ignore=LEFT_BY_RUNNING, dirs_exist_ok=True)
    if after:
        return
    for name in ADDED:
        (into / name).unlink()
    shutil.copytree(BEFORE, into, ignore=LEFT_BY_RUNNING, dirs_exist_ok=True)


def make_origin(demo: Path) -> None:
    """Two commits; authors and dates are fixed, so the same files give the same hashes."""
    work = demo / "origin.work"
    git("init", "--quiet", "--initial-branch=main", str(work))
    commits = [(False, "Keep names and addresses of people"), (True, "Encrypt personal data at rest")]
    for day, (after, message) in enumerate(commits, start=1):
        lay_out(work, after=after)
        git("add", "--all", at=work)
        git("commit", "--quiet", "--message", message, at=work, date=f"2026-01-0{day}T09:00:00+00:00")
    git("clone", "--quiet", "--bare", str(work), str(demo / "origin.git"))
    shutil.rmtree(work)


def clone(demo: Path, name: str) -> None:
    git("clone", "--quiet", str(demo / "origin.git"), str(demo / name))
    git("reset", "--quiet", "--hard", "HEAD~1", at=demo / name)


def git(*arguments: str, at: Path | None = None, date: str = "") -> None:
    # nobody's own configuration: no hooks, no signatures, no other line ends
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Sample Site", f"GIT_{role}_EMAIL": "site@example.org", f"GIT_{role}_DATE": date}
    subprocess.run(["git", *arguments], cwd=at, env=env, check=True)


# -- interpreters


def interpreter(cache: Path, name: str) -> Path:
    """A virtual environment with what the code before needs, and nothing that the code after adds."""
    wanted = (BEFORE / "requirements.txt").read_bytes() + sys.version.encode() + sysconfig.get_path("stdlib").encode()
    home = cache / f"{name}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    complete = home / "complete"
    if not complete.exists():
        shutil.rmtree(home, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(home))
        configure_pip(home, cache)
        pip(home, "install", "--quiet", "--requirement", str(BEFORE / "requirements.txt"), BESIDE_REQUIREMENTS)
        complete.write_text("\n".join(installed(home)), "utf-8")
    configure_pip(home, cache)
    added = installed(home) - set(complete.read_text("utf-8").split("\n"))
    if added:
        pip(home, "uninstall", "--quiet", "--yes", *(package.split("-")[0] for package in added))
    return home


def configure_pip(home: Path, cache: Path) -> None:
    """Downloads stay inside the clone, also those of deployguard's own step; the clone may have moved."""
    (home / "pip.conf").write_text(
        f"[global]\ncache-dir = {cache / 'pip'}\ndisable-pip-version-check = true\n", "utf-8"
    )


def installed(home: Path) -> set[str]:
    """Packages as NAME-VERSION, without the second that asking pip takes."""
    return {found.stem for found in home.glob("lib/python*/site-packages/*.dist-info")}


def pip(home: Path, *arguments: str) -> None:
    run(str(home / "bin/python"), "-m", "pip", *arguments)


# -- data


def make_key(demo: Path, name: str) -> None:
    folder = demo / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{name}.key"
    file.touch(mode=0o600)
    file.write_bytes(base64.urlsafe_b64encode(os.urandom(32)) + b"\n")


def migrate(directory: Path) -> Path:
    """An empty database at 0062, by the code before; without a key, which that code does not know."""
    env = {
        k: v
        for k, v in os.environ.items()
        if not k.endswith(("_ENCRYPTION_KEY", "DATABASE_URL")) and k != "DJANGO_SETTINGS_MODULE"
    }
    run(".venv/bin/python", "manage.py", "migrate", "--verbosity", "0", at=directory, env=env)
    return directory / "db.sqlite3"


def seed(demo: Path, name: str) -> None:
    directory = demo / name
    key, database = demo / "keys" / f"{name}.key", directory / "db.sqlite3"
    run(".venv/bin/python", str(EXAMPLES / "seed.py"), str(database), str(key), name, at=directory)


def run(*argv: str, at: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, cwd=at, env=env, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}\n{done.stdout.decode(errors='replace')}exit status {done.returncode}")


WRAPPER = r"""#!/bin/sh
# deployguard, with what runbook.yaml asks of the environment, for the demo beside this file.
set -eu
demo=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd -P)
# a URL, so what means something in a URL is written as its code
in_url=$(printf %s "$demo" | sed -e 's/%/%25/g' -e 's/ /%20/g' -e 's/?/%3F/g' -e 's/#/%23/g')

export STAGING_DIRECTORY="$demo/staging"
export PRODUCTION_DIRECTORY="$demo/production"
export STAGING_DATABASE_URL="sqlite:///$in_url/staging/db.sqlite3"
export DATABASE_URL="sqlite:///$in_url/production/db.sqlite3"
STAGING_MESSAGE_ENCRYPTION_KEY=$(cat "$demo/keys/staging.key")
MESSAGE_ENCRYPTION_KEY=$(cat "$demo/keys/production.key")
export STAGING_MESSAGE_ENCRYPTION_KEY MESSAGE_ENCRYPTION_KEY
export DEPLOYGUARD_HOME="$demo/.deployguard"

cd "$demo/.."
exec .venv/bin/deployguard "$@"
"""


if __name__ == "__main__":
    main()
