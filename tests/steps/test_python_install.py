"""`python.install`: what the code needs is there, and afterwards again what was there before.

A real virtual environment and a real pip, with wheels of a few bytes instead of an index.
"""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from checking import context

from deployguard.errors import Refused, StepFailed
from deployguard.process import base_environment
from deployguard.rows.application import Application
from deployguard.steps.python_install import PythonInstall


def wheel(folder, name, version):
    """The smallest package that pip installs and removes."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)


@pytest.fixture
def site(tmp_path):
    """A working copy whose environment has `kept` 1.0 and `raised` 1.0."""
    wheels, venv = tmp_path / "wheels", tmp_path / "site/.venv"
    wheels.mkdir()
    for name, version in [("kept", "1.0"), ("raised", "1.0"), ("raised", "2.0"), ("added", "1.0")]:
        wheel(wheels, name, version)
    # pip is the tests' own: installing one for each test would take seconds
    make = [sys.executable, "-m", "venv", "--without-pip", venv]
    subprocess.run(make, check=True)
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "pip_of_the_tests.pth").write_text(str(_site_packages_with_pip()))
    (venv / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {wheels}\n")
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "kept==1.0", "raised==1.0"], check=True, env=base_environment())
    (tmp_path / "site/requirements.txt").write_text("kept\nraised==2.0\nadded\n")
    return context(tmp_path / "site", app=Application(venv / "bin/python", Path("manage.py"), tmp_path / "site", {}))


def _site_packages_with_pip():
    import pip

    return Path(pip.__file__).parents[1]


def installed(site):
    """Ours among the installed packages."""
    info = (site.target.directory / ".venv").glob("lib/python*/site-packages/*.dist-info")
    return {path.name.removesuffix(".dist-info") for path in info}


def test_what_is_required_is_installed_and_each_change_goes_on_record(site):
    before = replace(site, before=PythonInstall().capture(site))

    outcome = PythonInstall().execute(before)

    assert installed(site) == {"kept-1.0", "raised-2.0", "added-1.0"}
    assert outcome.summary == "added 1.0, raised 2.0"
    assert outcome.evidence == {"tool": "pip", "changed": {"raised": ["1.0", "2.0"], "added": [None, "1.0"]}}


def test_the_undo_brings_back_each_version_and_twice_is_the_same_as_once(site):
    before = replace(site, before=PythonInstall().capture(site))
    PythonInstall().execute(before)

    first = PythonInstall().compensate(before)
    again = PythonInstall().compensate(before)

    assert installed(site) == {"kept-1.0", "raised-1.0"}
    assert first.summary == "1 removed, 1 put back to their former version"
    assert again.summary == "nothing had changed"


def test_a_package_that_cannot_be_had_is_told_and_nothing_is_installed(site):
    (site.target.directory / "requirements.txt").write_text("added\nnot-there==3.0\n")

    with pytest.raises(StepFailed, match="exit status 1") as failed:
        PythonInstall().execute(replace(site, before=PythonInstall().capture(site)))

    assert "not-there==3.0" in failed.value.tail
    assert installed(site) == {"kept-1.0", "raised-1.0"}


def test_looking_ahead_installs_nothing(site):
    preview = PythonInstall().preview(site)

    assert preview.verdict == "unknown"
    assert preview.commands[0].endswith("-r requirements.txt")
    assert installed(site) == {"kept-1.0", "raised-1.0"}


@pytest.mark.parametrize(("lock", "command"), [("uv.lock", "uv sync --frozen"), ("poetry.lock", "poetry install")])
def test_the_projects_own_tool_is_used_or_missed_by_name(site, monkeypatch, tmp_path, lock, command):
    (site.target.directory / lock).touch()
    tool = command.split()[0]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    with pytest.raises(Refused, match=f"the project uses {tool}, which is not installed here"):
        PythonInstall().commands(site)

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / tool).write_text("#!/bin/sh\n")
    (tmp_path / "bin" / tool).chmod(0o755)
    assert PythonInstall().commands(site)[0].startswith(command)
