"""`deployguard init` writes a runbook that is valid, says what was found, and carries the change out on a real site."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_site import ROOT

MANAGE = 'import os, sys\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\n'


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "A Project"
    folder.mkdir()
    return folder


def init(folder, *arguments, **env):
    given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder), **env}
    return subprocess.run(
        [sys.executable, "-m", "deployguard", *(arguments or ["init"])], cwd=folder, env=given, capture_output=True, text=True, check=False
    )  # fmt: skip


def written(folder, *arguments, **env):
    """The runbook, read by somebody else's YAML reader, after deployguard itself has called it valid."""
    done = init(folder, "init", *arguments, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert init(folder, "check").returncode == 0, init(folder, "check").stderr
    return yaml.safe_load((folder / "runbook.yaml").read_text("utf-8")), done.stdout


def django(folder, *, settings="", app="shop", migrations=("0001_initial",)):
    """A Django project of which only the source is there."""
    (folder / "config").mkdir(parents=True)
    (folder / "manage.py").write_text(MANAGE)
    (folder / "config/settings.py").write_text(settings)
    (folder / app / "migrations").mkdir(parents=True)
    for name in migrations:
        (folder / app / "migrations" / f"{name}.py").touch()


def uses(runbook, part="steps"):
    return [step.get("uses", "run") for step in runbook[part]]


@pytest.fixture
def copy(site):
    """Production's working copy with the code that encrypts; what it needs is in the environment."""
    site.git("merge", "--quiet", "--ff-only", "origin/main", name="production")
    site.env["STAGING_DATABASE_URL"] = site.env["DATABASE_URL"]
    site.env["STAGING_MESSAGE_ENCRYPTION_KEY"] = site.env["MESSAGE_ENCRYPTION_KEY"]
    for name in ("STAGING_DIRECTORY", "PRODUCTION_DIRECTORY"):
        del site.env[name]
    return site.copy("production")


def test_the_sample_sites_runbook_says_what_is_found_there(site, copy):
    runbook, said = written(copy, **site.env)

    assert runbook["django"] == {
        "manage": "manage.py", "python": ".venv/bin/python",
        "env": {"MESSAGE_ENCRYPTION_KEY": "${{ secrets.encryption_key }}", "DATABASE_URL": "${{ vars.database_url }}"},
    }  # fmt: skip
    assert runbook["code"] == {"remote": "origin", "branch": "main"}
    assert runbook["secrets"] == {"encryption_key": {"from": "env", "name": "MESSAGE_ENCRYPTION_KEY"}}
    migrate = next(step for step in runbook["steps"] if step["id"] == "migrate")
    assert migrate["with"] == {"app": "web", "to": "0063_add_encryption_to_personal_data"}
    assert "11 columns (django-encrypted-model-fields)" in said
    assert uses(runbook) == [
        "backup.create", "git.update", "python.install", "rehearse", "django.migrate", "encryption.usage", "encryption.readiness",
        "encryption.plan", "encryption.encrypt", "encryption.verify", "run", "http",
    ]  # fmt: skip


def test_the_runbook_as_it_is_written_carries_the_change_out_and_back(site, copy):
    written(copy, **site.env)
    (copy / "runbook.yaml").replace(site.runbook)
    site.git("reset", "--quiet", "--hard", "HEAD~1", name="production")
    # the copy stands for staging, whose key is not production's
    env = {name: value for name, value in site.env.items() if name != "MESSAGE_ENCRYPTION_KEY"}
    env["STAGING_DIRECTORY"] = str(copy)

    done = init(site.root, "deploy", "--env", "staging", "--yes", "--skip", "dependencies", **env)

    assert done.returncode == 0, done.stdout + done.stderr
    assert init(site.root, "data", "verify", "--env", "staging", **env).returncode == 0
    assert init(site.root, "rollback", "--env", "staging", "--yes", **env).returncode == 0


def test_an_application_that_does_not_start_is_read_from_its_source_and_the_runbook_says_so(site, copy):
    env = {name: value for name, value in site.env.items() if not name.endswith("ENCRYPTION_KEY")}

    runbook, said = written(copy, **env)

    assert "The application could not be asked: config/keys.py:" in said
    text = (copy / "runbook.yaml").read_text()
    assert "# ! The application could not be asked" in text
    assert "encryption.encrypt" in uses(runbook)
    assert runbook["secrets"]["encryption_key"]["name"] == "MESSAGE_ENCRYPTION_KEY"


def test_a_site_that_encrypts_nothing_gets_a_runbook_without_encryption(project):
    django(
        project, settings='DATABASES = {"default": env.db()}\nSECRET_KEY = env("SECRET_KEY")\nHOST = env("HOST_NAME")'
    )

    runbook, said = written(project)

    assert uses(runbook) == ["backup.create", "django.migrate", "http"]
    assert runbook["django"]["env"] == {
        "SECRET_KEY": "${{ secrets.secret_key }}", "HOST_NAME": "${{ env.HOST_NAME }}", "DATABASE_URL": "${{ vars.database_url }}",
    }  # fmt: skip
    assert "No virtual environment was found" in said
    assert not any(name.startswith(("key", "encryption")) for name in uses(runbook, "preflight"))


def test_each_app_with_migrations_is_migrated_to_its_latest(project):
    django(project, migrations=("0001_initial", "0002_more", "0010_latest", "README"))
    django(project / "unused", app="other")
    (project / "unused/manage.py").unlink()

    runbook, _ = written(project)

    steps = {step["id"]: step["with"]["to"] for step in runbook["steps"] if step.get("uses") == "django.migrate"}
    assert steps == {"migrate-other": "0001_initial", "migrate-shop": "0010_latest"}


def test_a_project_below_is_found_or_named(project):
    django(project / "backend")
    assert written(project)[0]["django"]["manage"] == "backend/manage.py"

    (project / "runbook.yaml").unlink()
    django(project / "another one")
    done = init(project)
    assert done.returncode == 2
    assert "several Django projects" in done.stderr
    assert "--django: another one, backend" in done.stderr

    runbook, _ = written(project, "--django", "another one")
    assert runbook["django"]["manage"] == "another one/manage.py"


def test_without_django_there_is_a_place_for_commands(project):
    runbook, said = written(project)

    assert uses(runbook) == ["run"]
    assert "put the commands of your deployment under steps:" in said
    assert init(project, "deploy", "--env", "staging", "--yes").returncode == 0


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "says", "hint"),
    [
        (lambda p: (p / "runbook.yaml").write_text("mine"), (), 3, "runbook.yaml is there already", "with -f"),
        (lambda _: None, ("--django", "nowhere"), 2, "--django nowhere: there is no manage.py", "that it stands in"),
        (lambda _: None, ("-f", "no/folder.yaml"), 3, "no/folder.yaml cannot be written", "right to write"),
    ],
    ids=["a runbook is there", "no such folder", "nowhere to write"],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_left(project, spoil, arguments, code, says, hint):
    spoil(project)
    before = {path: path.read_text() for path in project.iterdir()}

    done = init(project, "init", *arguments)

    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert hint in done.stderr
    assert {path: path.read_text() for path in project.iterdir()} == before


def test_scripts_are_told_what_was_found(project):
    django(project, settings='DATABASES = {"default": env.db()}')

    found = json.loads(init(project, "init", "--json").stdout)

    assert found["database_variable"] == "DATABASE_URL"
    assert found["migrations"] == {"shop": "0001_initial"}
    assert Path(found["runbook"]).name == "runbook.yaml"


def test_names_that_are_none_of_yamls_stay_names(tmp_path):
    folder = tmp_path / "it's: a #1 project"
    folder.mkdir()
    django(folder / "no")

    runbook, _ = written(folder)

    assert runbook["django"]["manage"] == "no/manage.py"
    assert runbook["name"] == "deploy-it-s-a-1-project"
