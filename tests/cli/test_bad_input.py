"""Bad input is refused before anything is touched, with what is wrong, where, and what to do.

The guide's own runbook on the sample site, with one thing spoilt in each test.
"""

import json
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from small_site import at_new_code, narrow, new_key

REFUSED, NOT_VALID, HELD = 3, 2, 6
KEY = "STAGING_MESSAGE_ENCRYPTION_KEY"
# in two pieces, so that no scan of this repository takes it for a key
GUIDES_KEY = "xSNq8PvZzLnBBM5GJj4x" + "tKrPt1Q4yY7NRs7u-Kab2c8="


@dataclass(frozen=True)
class Case:
    """One thing wrong.

    Attributes:
        spoil: makes it wrong.
        says: what the message has to tell, SITE standing for the working copy.
        hint: what it has to tell to do.
        at: text in the runbook whose line and column must be named.
        arguments: of `deployguard`; `deploy --env staging --yes` where nothing else is said.
    """

    name: str
    spoil: Callable
    says: str
    hint: str
    at: str = ""
    exit_code: int = REFUSED
    arguments: tuple[str, ...] = ("deploy", "--env", "staging", "--yes")


def edit(old, new):
    def spoil(site):
        text = site.runbook.read_text("utf-8")
        assert text.count(old) == 1, old
        site.write(text.replace(old, new))

    return spoil


def key(text):
    """Give another key; GOOD in it stands for the one that the tokens were made with."""

    def spoil(site):
        site.env[KEY] = text.replace("GOOD", site.env[KEY])

    return spoil


def key_without_its_end(site):
    site.env[KEY] = site.env[KEY][:-1]


def nothing(_site):
    pass


def in_new_code(spoil):
    def both(site):
        at_new_code(site)
        spoil(site)

    return both


def replaced_database(content):
    return lambda site: site.database().write_bytes(content)


def uncommitted_file(site):
    site.copy().joinpath("app.txt").write_text("mine")


def read_only_database(site):
    with sqlite3.connect(site.database()) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    site.database().chmod(0o444)


def broken_interpreter(site):
    (site.copy() / ".venv").unlink()
    (site.copy() / ".venv/bin").mkdir(parents=True)
    (site.copy() / ".venv/bin/python").symlink_to("/nowhere/python")


def broken_manage(site):
    (site.copy() / "manage.py").write_text("import nothing_that_exists\n")
    site.git("commit", "--quiet", "--all", "--message", "Break manage.py")


def narrow_column(site):
    at_new_code(site)
    narrow(site.database(), "web_profile", "email", 110)


def home_of_all(site):
    site.home.mkdir()
    site.home.chmod(0o777)


RUNBOOK = [
    Case(
        "no runbook", lambda site: site.runbook.unlink(),
        says="runbook.yaml:1:1: there is no runbook here", hint="README.md shows the shortest", exit_code=NOT_VALID,
    ),
    Case(
        "broken YAML", edit("vars:\n  watch: 24h", "vars: [\n  watch: 24h"),
        says="not valid YAML", hint="Indent with spaces", at="watch_every: 30s", exit_code=NOT_VALID,
    ),
    Case(
        "a key twice", edit("summary: Encrypt", "name: again\nsummary: Encrypt"),
        says="the key 'name' stands here twice (first in line ", hint="Keep one of them", at="name: again", exit_code=NOT_VALID,
    ),
    Case(
        "an unknown key", edit("summary: Encrypt", "sumary: Encrypt"),
        says="unknown key 'sumary'", hint="Did you mean summary?", at="sumary:", exit_code=NOT_VALID,
    ),
    Case(
        "a value of the wrong type", edit("attempts: 5", "attempts: many"),
        says="attempts: should be a valid integer", hint="Write a whole number", at="attempts: many", exit_code=NOT_VALID,
    ),
    Case(
        "an unknown step kind", edit("uses: git.clean", "uses: git.clen"),
        says="unknown step kind 'git.clen'", hint="Did you mean git.clean?", at="uses: git.clen", exit_code=NOT_VALID,
    ),
    Case(
        "an undefined name", edit("for: ${{ vars.watch }}", "for: ${{ vars.wach }}"),
        says="undefined name 'vars.wach'", hint="Did you mean vars.watch?", at="for: ${{", exit_code=NOT_VALID,
    ),
    Case(
        "an environment variable that is not set", lambda site: site.env.pop("STAGING_DATABASE_URL"),
        says="the environment variable STAGING_DATABASE_URL is not set", hint="Set the environment variable, or give a default", exit_code=NOT_VALID,
    ),
    Case(
        "the same step id twice", edit("- id: sweep", "- id: verify"),
        says="the step id 'verify' stands here twice (first in line ", hint="Give each step its own id.", at="id: verify\n    uses: encryption.verify\n\n# Post", exit_code=NOT_VALID,
    ),
    Case(
        "an unknown environment", nothing,
        says="there is no environment 'stagin'", hint="Did you mean staging?", exit_code=NOT_VALID,
        arguments=("deploy", "--env", "stagin", "--yes"),
    ),
]  # fmt: skip

KEYS = [
    Case("no key", lambda site: site.env.pop(KEY), says=f"{KEY} (secret encryption_key) is not set", hint=f'export {KEY}="$(deployguard keys generate)"'),
    Case("an empty key", key(""), says=f"{KEY} (secret encryption_key) is empty", hint="Put the secret there"),
    Case("a key of 43 characters", key_without_its_end, says="encryption_key has 43 characters, a key has 44", hint="copy the key again"),
    Case("a key of 45 characters", key("GOOD="), says="encryption_key has 45 characters, a key has 44", hint="copy the key again"),
    Case("a key in quotes", key('"GOOD"'), says="encryption_key is in quotes", hint="Take away the quotes"),
    Case("a key as Python shows bytes", key("b'GOOD'"), says="encryption_key is written as Python shows bytes", hint="Take away the b and the quotes"),
    Case("the guide's example key", key(GUIDES_KEY), says="encryption_key is an example key from public documentation", hint="deployguard keys generate"),
    Case("the guide's example key as it stands there", key(f"b'{GUIDES_KEY}'"), says="encryption_key is written as Python shows bytes", hint="Take away the b and the quotes"),
    Case("a wrong key, before the code that encrypts", key(new_key()), says="tokens are there that no given key opens", hint="Find that key before anything is changed"),
    Case("a wrong key, with the code that encrypts", in_new_code(key(new_key())), says="rows: the value has the form of a token that no known key opens", hint="The key is not the one these tokens were made with"),
]  # fmt: skip

PLACES = [
    Case("an interpreter that does not start", broken_interpreter, says="SITE/.venv/bin/python", hint="Create the application's virtual environment, or set `django.python`"),
    Case("a manage.py that does not start", broken_manage, says="manage.py check: exit status 1", hint="SITE/.venv/bin/python manage.py check' in SITE"),
    Case("no database", lambda site: site.database().unlink(), says="the database SITE/db.sqlite3 is not there", hint="Check the environment's database: URL"),
    Case("a database that may only be read", read_only_database, says="the database SITE/db.sqlite3 is read-only for this user", hint="give write permission"),
    Case("a file that is no database", replaced_database(b"people, and their names\n" * 400), says="SITE/db.sqlite3 is not a database", hint="restore a backup if it is damaged"),
    Case("an uncommitted file", uncommitted_file, says="1 uncommitted in SITE: app.txt", hint="Commit, ignore or remove them"),
    Case("an unknown commit", nothing, says="the commit '1234567' is neither in SITE nor on its remote origin", hint="Push it first", arguments=("deploy", "--env", "staging", "--yes", "--set", "commit=1234567")),
    Case("a column too narrow for its tokens", narrow_column, says="rows: the value would not fit as a token", hint="Give the column a larger max_length and migrate."),
    Case("a folder that others may write to", home_of_all, says=".deployguard is writable by others (mode 0777)", hint="chmod 0700"),
]  # fmt: skip


@pytest.mark.parametrize("case", [*RUNBOOK, *KEYS, *PLACES], ids=lambda case: case.name)
def test_it_is_refused_with_what_where_and_what_to_do_and_nothing_is_touched(site, case):
    secrets = {site.key(), GUIDES_KEY}
    case.spoil(site)
    secrets.add(site.env.get(KEY, "").strip("'\"b"))
    before = site.untouchable()

    done = site.run(*case.arguments)

    said = done.stdout + done.stderr
    print(said)
    assert done.returncode == case.exit_code
    assert case.says.replace("SITE", str(site.copy())) in said
    assert case.hint.replace("SITE", str(site.copy())) in hints(said)
    if case.at:
        assert f"runbook.yaml:{place(site.runbook, case.at)}: " in done.stderr
    assert "Traceback" not in said
    assert site.untouchable() == before
    for secret in secrets - {""}:
        assert secret not in said
        assert not [p for p in site.artefacts() if secret.encode() in p.read_bytes()]


def test_a_script_is_told_the_same_in_one_json_document(site):
    edit("uses: git.clean", "uses: git.clen")(site)

    done = site.run("deploy", "--env", "staging", "--yes", "--json")

    assert done.returncode == NOT_VALID
    (problem,) = json.loads(done.stdout)["error"]["problems"]
    assert (problem["summary"], problem["hint"]) == ("unknown step kind 'git.clen'", "Did you mean git.clean?")
    assert (
        f"{problem['file']}:{problem['line']}:{problem['column']}"
        == f"runbook.yaml:{place(site.runbook, 'uses: git.clen')}"
    )


def test_a_script_is_told_which_check_said_no(site):
    key("'GOOD'")(site)

    done = site.run("deploy", "--env", "staging", "--yes", "--json")

    assert done.returncode == REFUSED
    run = json.loads(done.stdout)
    assert run["state"] == "refused"
    assert [c["id"] for c in run["checks"] if c["status"] == "fail"] == ["key.check", "encryption.readiness"]
    assert site.key() not in done.stdout + done.stderr


@pytest.fixture
def running(site):
    """A run under way in staging, that nothing disturbs until its end."""
    site.write(
        "version: 1\nname: slow\nenvironments: { staging: {} }\nsteps:\n"
        "  - { id: wait, run: [sh, -c, touch begun; until test -e enough; do sleep 0.1; done], idempotent: true }\n"
    )
    process = site.start("deploy", "--env", "staging", "--yes")
    until = time.monotonic() + 30
    while not (site.root / "begun").exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    yield process
    (site.root / "enough").touch()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


@pytest.mark.parametrize("command", ["deploy --yes", "deploy --resume", "rollback --yes"])
def test_while_a_run_is_active_a_second_one_is_told_who_holds_the_environment(site, running, command):
    runs = site.run("runs").stdout

    done = site.run(*command.split(), "--env", "staging")

    assert done.returncode == HELD
    assert re.search(
        rf"the environment staging is held by run staging-\S+ \(process {running.pid} on \S+, which is alive\) since 20",
        done.stderr,
    )
    assert "Wait for it to end" in hints(done.stderr)
    assert site.run("runs").stdout == runs


def hints(said):
    return "\n".join(re.findall(r"^ +(?:hint:|→) (.*)$", said, re.MULTILINE))


def place(runbook, text):
    """LINE:COLUMN of a text that stands in the runbook once."""
    before, _, _ = runbook.read_text("utf-8").partition(text)
    return f"{before.count(chr(10)) + 1}:{len(before) - (before.rfind(chr(10)) + 1) + 1}"
