"""`key.check`: every way in which a key may not do, each with how to mend it in one line."""

from dataclasses import replace

import pytest
from checking import SITE, application, commit, context, working_copy, write
from cryptography.fernet import Fernet
from pydantic import ValidationError

from deployguard.errors import Refused
from deployguard.keys.check import generate_key
from deployguard.steps.key_check import KeyCheck

KEY, COPY, OTHER, OLDER = (generate_key().reveal() for _ in range(4))
SECRETS = {"field_key": KEY, "copy": KEY, "other": OTHER, "older": OLDER}
ABSENT = Refused("the environment variable KEY (secret field_key) is not set", hint="Set it.")
MADE_UP = SITE["site_settings.py"].rstrip() + "\n        FIELD_ENCRYPTION_KEY = os.urandom(9).hex()\n"


@pytest.fixture
def copy(tmp_path):
    return working_copy(tmp_path / "site", {**SITE, ".gitignore": "*.secret\n"})


def check(folder, step=None, *, keys=("field_key",), secrets=None, **more):
    return (step or KeyCheck()).execute(context(folder, keys=keys, secrets={**SECRETS, **(secrets or {})}, **more))


def test_a_good_key_passes_and_only_its_fingerprint_goes_on_record(copy):
    outcome = check(copy, KeyCheck(escrow="copy", others={"staging": "other"}), app=application(copy))

    assert outcome.status == "pass"
    [known] = outcome.evidence["keys"]
    assert (known["name"], known["source"]) == ("field_key", "safe field_key")
    assert known["fingerprint"] in outcome.summary
    assert KEY not in str(outcome)


FAULTS = {
    "not set": ({"field_key": ABSENT}, {}, "is not set", "Set it."),
    "not a key": ({"field_key": "short"}, {}, "has 5 characters, a key has 44", "copy the key again"),
    "published": (
        {"field_key": "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="}, {},
        "the key field_key is an example key", "keys generate",
    ),
    "another environment has it": (
        {"other": KEY}, {"others": {"staging": "other"}},
        "production and staging have the same key (field_key)", "shared_with: [production, staging]",
    ),
    "another environment was to have it": (
        {}, {"others": {"staging": "other"}, "shared_with": ["staging", "production"]},
        "production and staging are to share a key and have different ones", "Give both the same key",
    ),
    "another environment has none": (
        {"other": ABSENT}, {"others": {"staging": "other"}, "must_have": ["staging"]},
        "staging has no key: the environment variable KEY", "Set it.",
    ),
    "nobody knows the other environment": ({}, {"must_have": ["staging"]}, "staging, which is no environment", "Correct"),
    "the second copy is another key": (
        {"copy": COPY}, {"escrow": "copy"}, "the second copy copy does not open what field_key seals", "Keep the same key",
    ),
    "the second copy is lost": ({"copy": ABSENT}, {"escrow": "copy"}, "is not set", "Set it."),
    "the second copy is damaged": ({"copy": KEY[1:]}, {"escrow": "copy"}, "the key copy has 43 characters", "again"),
    "nobody has declared the second copy": ({}, {"escrow": "none"}, "the secret none is not declared", "under secrets:"),
}  # fmt: skip


@pytest.mark.parametrize(("secrets", "settings", "what", "fix"), FAULTS.values(), ids=FAULTS)
def test_each_fault_of_the_key_is_named_with_its_fix(copy, secrets, settings, what, fix):
    outcome = check(copy, KeyCheck(**settings), secrets=secrets)

    assert outcome.status == "fail"
    assert what in outcome.summary
    assert fix in outcome.hint
    assert "\n" not in outcome.hint
    assert not any(value in str(outcome) for value in (KEY, OTHER, COPY))


PLACES = {
    "committed": ("settings.py", 0o600, True, "of main (settings.py)", "Make a new key"),
    "in an environment file that is shipped": (".env", 0o600, True, ".env, which git ships to every copy", "git rm --cached .env"),
    "in a new file": ("notes", 0o600, False, "notes, which the next 'git add' would take", ".gitignore"),
    "open to others": ("key.secret", 0o644, False, "key.secret, which others may read (mode 0644)", "chmod 600 key.secret"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "mode", "is_committed", "what", "fix"), PLACES.values(), ids=PLACES)
def test_a_key_that_can_be_found_is_a_fault(copy, name, mode, is_committed, what, fix):
    (copy / name).write_text(f"KEY={KEY}\n")
    (copy / name).chmod(mode)
    if is_committed:
        commit(copy)

    outcome = check(copy)

    assert outcome.status == "fail"
    assert "the key field_key stands in " in outcome.summary
    assert what in outcome.summary
    assert fix in outcome.hint
    assert KEY not in str(outcome)


def test_an_ignored_file_that_only_its_owner_can_read_may_hold_the_key(copy):
    (copy / "key.secret").write_text(KEY)
    (copy / "key.secret").chmod(0o600)

    assert check(copy).status == "pass"


def test_a_key_that_the_application_makes_up_at_each_start_is_a_fault(tmp_path):
    copy = working_copy(tmp_path / "site", {**SITE, "site_settings.py": MADE_UP})

    outcome = check(copy, app=application(copy))

    assert outcome.status == "fail"
    assert "FIELD_ENCRYPTION_KEY differs between two starts" in outcome.summary
    assert "read FIELD_ENCRYPTION_KEY from its environment" in outcome.hint


def test_an_application_that_does_not_start_is_told_and_not_believed(copy):
    write(copy, {"site_settings.py": "raise RuntimeError"})

    outcome = check(copy, app=application(copy))

    assert outcome.status == "fail"
    assert "does not start (RuntimeError)" in outcome.summary


def test_all_faults_are_told_at_once_each_with_its_fix(copy):
    outcome = check(copy, KeyCheck(escrow="copy"), keys=("field_key", "older"), secrets={"older": ABSENT, "copy": COPY})

    assert "is not set; the second copy" in outcome.summary
    assert [p["fix"] for p in outcome.evidence["problems"]] == ["Set it.", outcome.hint.removeprefix("Set it. ")]
    assert [k["name"] for k in outcome.evidence["keys"]] == ["field_key"]


def test_a_key_of_another_environment_that_cannot_be_fetched_from_here_is_only_said(copy):
    outcome = check(copy, KeyCheck(others={"staging": "other"}), secrets={"other": ABSENT})

    assert outcome.status == "pass"
    assert "not compared with staging: the environment variable KEY" in outcome.summary


def test_environments_that_share_a_key_by_intent_may(copy):
    step = KeyCheck(others={"production": "field_key", "staging": "other"}, shared_with=("staging", "production"))

    assert check(copy, step, secrets={"other": KEY}).status == "pass"
    assert check(copy, step, secrets={"other": KEY}, environment="development").status == "fail"


@pytest.mark.parametrize(
    ("key", "place", "status", "what"),
    [
        (KEY, "vault b", "fail", "production and staging have the same key (field_key)"),
        (OTHER, "vault b", "pass", "safe field_key"),
        (KEY, "safe field_key", "pass", "not compared with staging: it names the same place (safe field_key)"),
        (ABSENT, "vault b", "pass", "not compared with staging: the environment variable KEY"),
    ],
    ids=["the same key", "another key", "the same place", "not there"],
)
def test_other_environments_keys_of_the_same_name_are_compared_without_being_named(copy, key, place, status, what):
    given = context(copy, keys=["field_key"], secrets=SECRETS)
    theirs = context(copy, secrets={"field_key": key}, places={"field_key": place}).target.secrets
    given = replace(given, target=replace(given.target, elsewhere={"staging": theirs}))

    outcome = KeyCheck().execute(given)

    assert outcome.status == status
    assert what in outcome.summary


def test_an_older_key_that_another_environment_writes_with_is_a_fault_too(copy):
    outcome = check(copy, KeyCheck(others={"staging": "other"}), keys=("field_key", "older"), secrets={"other": OLDER})

    assert "production and staging have the same key (older)" in outcome.summary


def test_tokens_that_the_key_does_not_open_are_a_fault_before_the_application_encrypts(copy, store):
    store.run("CREATE TABLE notes (id INTEGER PRIMARY KEY, body VARCHAR(200), code VARCHAR(200))")
    ours, theirs = (Fernet(key).encrypt(b"hello").decode() for key in (KEY, OTHER))
    store.run("INSERT INTO notes VALUES (1, ?, 'gAAAA of a user')", ours)
    assert "1 tokens that are there already open" in check(copy, url=store.url).summary

    store.run("INSERT INTO notes VALUES (2, ?, ?)", theirs, theirs)
    outcome = check(copy, url=store.url)

    assert outcome.status == "fail"
    assert "no given key opens: 1 in notes.body; 1 in notes.code" in outcome.summary
    assert "Find that key before anything is changed" in outcome.hint
    assert check(copy, url=store.url, keys=("field_key", "other")).status == "pass"


ENCRYPTING = {
    **SITE,
    "shop/models.py": """
        import os

        from cryptography.fernet import Fernet
        from django.db import models


        class Encrypted(models.TextField):
            def get_prep_value(self, value):
                return value and Fernet(os.environ["KEY"]).encrypt(value.encode()).decode()

            def from_db_value(self, value, expression, connection):
                return value and Fernet(os.environ["KEY"]).decrypt(value.encode()).decode()


        class Person(models.Model):
            name = Encrypted()
    """,
}


def test_where_the_application_says_what_it_encrypts_only_that_is_tried(tmp_path, sqlite):
    copy = working_copy(tmp_path / "site", ENCRYPTING)
    app = application(copy, KEY=KEY)
    sqlite.run("CREATE TABLE shop_person (id INTEGER PRIMARY KEY, name TEXT)")
    sqlite.run("CREATE TABLE others (id INTEGER PRIMARY KEY, token TEXT)")
    sqlite.run("INSERT INTO others VALUES (1, ?)", Fernet(OTHER).encrypt(b"not ours").decode())
    sqlite.run("INSERT INTO shop_person VALUES (1, ?)", Fernet(KEY).encrypt(b"Ann").decode())
    write(copy, {"site_settings.py": ENCRYPTING["site_settings.py"].replace("site.db", str(tmp_path / "site.db"))})
    assert check(copy, app=app, url=sqlite.url).status == "pass"

    sqlite.run("INSERT INTO shop_person VALUES (2, ?)", Fernet(OTHER).encrypt(b"Ann").decode())

    assert "no given key opens: 1 in shop_person.name" in check(copy, app=app, url=sqlite.url).summary


def test_a_database_that_cannot_be_asked_is_said_and_no_fault_of_the_key(copy):
    outcome = check(copy, url="postgresql://nobody@127.0.0.1:1/none")

    assert outcome.status == "pass"
    assert "no token was tried: " in outcome.summary


def test_a_second_copy_in_the_same_place_is_no_second_copy(copy):
    outcome = check(copy, KeyCheck(escrow="copy"), places={"field_key": "file k", "copy": "file k"})

    assert "is in the same place as field_key (file k)" in outcome.summary


def test_without_a_key_there_is_nothing_to_deploy_with(copy):
    assert check(copy, keys=()).status == "fail"


def test_a_folder_without_git_is_searched_and_its_history_said_to_be_missing(tmp_path):
    folder = write(tmp_path / "plain", {"notes": KEY})

    outcome = check(folder)

    assert "notes, which others may read" in outcome.summary
    assert "is not a git working copy" in outcome.evidence["notes"][0]


def test_a_search_without_the_time_for_it_is_no_pass(copy):
    outcome = check(copy, KeyCheck(search="1ms"))

    assert outcome.status == "fail"
    assert "not done in time" in outcome.summary
    assert "search:" in outcome.hint


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"shared_with": ["staging"]}, "two at least"),
        ({"search": 0}, "greater than 0"),
        ({"escrow": 5}, "valid string"),
        ({"shared": ["staging"]}, "not permitted"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, what):
    with pytest.raises(ValidationError, match=what):
        KeyCheck(**settings)
