"""What tests of checks need: a small Django site, a git working copy, and a context to run a check in."""

import subprocess
import sys
import textwrap
from pathlib import Path

from deployguard.clock import SystemClock
from deployguard.journal.home import Home
from deployguard.masking import Masker
from deployguard.process import base_environment, run
from deployguard.rows.application import Application
from deployguard.secret import Secret
from deployguard.steps.base import Context, Secrets, Target

MANAGE = """
    import os, sys

    if __name__ == "__main__":
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""

SITE = {
    "manage.py": MANAGE,
    "site_settings.py": """
        import os
        SECRET_KEY = "only-for-tests"
        FIELD_ENCRYPTION_KEY = os.environ.get("FIELD_ENCRYPTION_KEY", "")
        INSTALLED_APPS = ["shop"]
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        USE_TZ = True
    """,
    "shop/__init__.py": "",
    "shop/models.py": """
        from django.db import models


        class Person(models.Model):
            name = models.CharField(max_length=40)
    """,
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
        from django.db import migrations, models


        class Migration(migrations.Migration):
            initial = True
            operations = [
                migrations.CreateModel("Person", [
                    ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                    ("name", models.CharField(max_length=40)),
                ]),
            ]
    """,
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
    return folder


def git(folder, *arguments):
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder, message="work"):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)


def working_copy(folder, files=None):
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    write(folder, files or {"readme": "hello\n"})
    commit(folder)
    return folder


def application(folder, **env):
    return Application(Path(sys.executable), Path("manage.py"), folder, env)


def context(folder, *, secrets=None, places=None, keys=(), app=None, environment="production", home=None, url=None):
    """A check's context as `preflight` makes it. A secret that is an exception is one that cannot be fetched."""

    def fetcher(name, value):
        def fetch():
            if isinstance(value, Exception):
                raise value
            return Secret(value, name=name)

        return fetch

    secrets = secrets or {}
    target = Target(
        environment=environment, directory=folder, project=folder, home=Home(home or folder.parent / "home"),
        secrets=Secrets({n: fetcher(n, v) for n, v in secrets.items()}, places or {n: f"safe {n}" for n in secrets}),
        masker=Masker([]), clock=SystemClock(), database_url=url, keys=tuple(keys), application_parts=app,
    )  # fmt: skip

    def command(argv, *, cwd, env, **more):
        return run(argv, cwd=cwd, env={**base_environment(), **env}, timeout=60, masker=target.masker, **more)

    return Context(target=target, run="preflight", step="check", fence=0, pulse=lambda _: None, run_command=command)
