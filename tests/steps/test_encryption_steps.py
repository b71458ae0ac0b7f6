"""The encryption steps on the sample site: ready, foreseen, encrypted, verified, decrypted, and each one's undo.

What the database holds is read by sqlite3 and opened by cryptography, not by what is tested.
"""

import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
from checking import context
from cryptography.fernet import Fernet, InvalidToken
from small_site import at_new_code, build, copied, narrow, new_key

from deployguard.errors import Refused
from deployguard.rows.application import Application
from deployguard.steps.encryption import work
from deployguard.steps.encryption_decrypt import EncryptionDecrypt
from deployguard.steps.encryption_encrypt import EncryptionEncrypt
from deployguard.steps.encryption_plan import EncryptionPlan
from deployguard.steps.encryption_readiness import EncryptionReadiness
from deployguard.steps.encryption_verify import EncryptionVerify

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


@pytest.fixture(scope="module")
def old_site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new_site(old_site, tmp_path_factory):
    """With the code that encrypts, and nothing encrypted yet but what was before."""
    site = copied(old_site, tmp_path_factory.mktemp("new") / "site")
    at_new_code(site)
    return site


@pytest.fixture
def site(new_site, tmp_path):
    return copied(new_site, tmp_path / "site")


def seen(site, *, key=None, applications_key=None):
    """The context of a step there."""
    env = {"MESSAGE_ENCRYPTION_KEY": applications_key or site.key()}
    app = Application(site.copy() / ".venv/bin/python", site.copy() / "manage.py", site.copy(), env)
    made = context(
        site.copy(), app=app, url=f"sqlite:///{site.database()}", environment="staging",
        secrets={"encryption_key": key or site.key()}, keys=["encryption_key"],
    )  # fmt: skip
    return replace(made, run="staging-1", step="encrypt", fence=1, began=time.time())


def begun(step, here):
    return replace(here, before=step.capture(here))


def ask(site, query):
    with closing(sqlite3.connect(site.database())) as connection:
        return connection.execute(query).fetchall()


def values(site):
    """Each value of the encrypted columns as stored, by table, column and primary key."""
    return {
        (table, column, key): value
        for table, columns in COLUMNS.items()
        for column in columns
        for key, value in ask(site, f"SELECT id, CAST({column} AS BLOB) FROM {table}")
    }


def plaintext(site):
    """What each value says, whether sealed or not."""
    fernet = Fernet(site.key())

    def says(value):
        try:
            return value and fernet.decrypt(value)
        except InvalidToken:
            return value

    return {place: says(value) for place, value in values(site).items()}


def unsealed(site):
    """Places that hold something, and not as a token."""
    said = plaintext(site)
    return {place for place, value in values(site).items() if value and said[place] == value}


# -- readiness


def test_it_is_ready_when_every_value_fits_every_token_opens_and_both_sides_read_each_other(site):
    before = site.untouchable()

    outcome = EncryptionReadiness(required=True).execute(seen(site))

    assert (outcome.status, outcome.summary) == ("pass", "11 columns: every value fits, every token opens")
    assert outcome.evidence["handshake"]
    assert site.untouchable() == before


def test_it_is_not_ready_when_the_application_has_another_key(site):
    outcome = EncryptionReadiness(required=True).execute(seen(site, applications_key=new_key()))

    assert outcome.status == "fail"
    assert not outcome.evidence["handshake"]
    assert "Give deployguard and the application the same key" in outcome.hint


def test_an_index_and_a_trigger_on_what_becomes_random_are_told(site):
    with closing(sqlite3.connect(site.database())) as connection, connection:
        connection.execute("CREATE INDEX by_email ON web_donation (email)")
        connection.execute("CREATE TRIGGER seen AFTER UPDATE ON web_donation BEGIN SELECT 1; END")

    outcome = EncryptionReadiness(required=True).execute(seen(site))

    assert outcome.status == "warn"
    assert "web_donation.email has an index that finds nothing any more" in outcome.summary
    assert "web_donation: the trigger seen fires for each rewritten row" in outcome.summary


def test_code_that_encrypts_nothing_is_ready_only_where_that_is_expected(old_site):
    assert EncryptionReadiness().execute(seen(old_site)).status == "pass"
    assert EncryptionReadiness(required=True).execute(seen(old_site)).status == "fail"


# -- plan


def test_the_plan_counts_what_is_not_sealed_yet_and_changes_nothing(site):
    before = site.untouchable()

    outcome = EncryptionPlan().execute(seen(site))

    assert outcome.status == "pass"
    assert outcome.evidence["values"] == len(unsealed(site))
    assert site.untouchable() == before


def test_the_plan_foresees_the_growth_to_the_byte(site):
    size = sum(len(v) for v in values(site).values() if v is not None)
    foreseen = EncryptionPlan().execute(seen(site)).evidence["growth"]

    EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))

    assert sum(len(v) for v in values(site).values() if v is not None) - size == foreseen


def test_the_plan_refuses_what_encrypting_would_refuse(site):
    narrow(site.database(), "web_donation", "email", 90)

    outcome = EncryptionPlan().execute(seen(site))

    assert outcome.status == "fail"
    assert "web_donation.email" in outcome.summary


# -- encrypt


def test_every_value_is_sealed_once_and_tokens_that_were_there_stay(site):
    before, said, open_before = values(site), plaintext(site), unsealed(site)

    EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))

    assert unsealed(site) == set()
    assert plaintext(site) == said
    assert {place for place, value in values(site).items() if before[place] != value and before[place]} == open_before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("ALTER TABLE web_donation RENAME COLUMN email TO mail", r"web_donation\.email is not in the database"),
        ("ALTER TABLE web_donation RENAME TO web_gift", "web_donation"),
        (None, "web_donation.email"),
    ],
    ids=["column renamed", "table renamed", "column narrowed"],
)
def test_a_schema_that_changed_between_plan_and_run_is_refused_before_the_first_write(site, change, why):
    assert EncryptionPlan().execute(seen(site)).status == "pass"
    if change is None:
        narrow(site.database(), "web_donation", "email", 90)
    else:
        with closing(sqlite3.connect(site.database())) as connection, connection:
            connection.execute(change)
    profiles = ask(site, "SELECT * FROM web_profile")

    with pytest.raises(Refused, match=why) as refused:
        EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))

    assert refused.value.hint
    assert ask(site, "SELECT * FROM web_profile") == profiles


def test_a_key_that_is_older_than_the_tokens_encrypts_nothing(site):
    later = new_key()
    with closing(sqlite3.connect(site.database())) as connection, connection:
        connection.execute(
            "UPDATE web_donation SET email = ?", (Fernet(later).encrypt(b"written under a later key").decode(),)
        )
    before = values(site)

    with pytest.raises(Refused, match=r"web_donation\.email") as refused:
        EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))

    assert "Find the key it was made with" in str(refused.value)
    assert values(site) == before


def test_the_undo_brings_back_every_byte_and_leaves_nothing_of_ours(site):
    before, here = values(site), begun(EncryptionEncrypt(), seen(site))
    EncryptionEncrypt().execute(here)

    EncryptionEncrypt().compensate(here)
    EncryptionEncrypt().compensate(here)
    EncryptionEncrypt().settle(here)

    assert values(site) == before
    assert ask(site, "SELECT name FROM sqlite_schema WHERE name LIKE 'deployguard%'") == []


def test_where_the_application_encrypts_nothing_no_row_is_touched(old_site):
    before = old_site.untouchable()

    for step in (EncryptionEncrypt(), EncryptionPlan(), EncryptionVerify(), EncryptionDecrypt()):
        with pytest.raises(Refused, match="encrypts no column"):
            step.execute(seen(old_site))

    assert old_site.untouchable() == before


# -- verify


def test_verification_fails_on_one_single_plaintext_and_names_it_by_its_key(site):
    EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))
    assert EncryptionVerify().execute(seen(site)).status == "pass"
    [(key,)] = ask(site, "SELECT max(id) FROM web_profile")
    with closing(sqlite3.connect(site.database())) as connection, connection:
        connection.execute("UPDATE web_profile SET email = 'late@example.org' WHERE id = ?", [key])

    outcome = EncryptionVerify().execute(seen(site))

    assert outcome.status == "fail"
    assert "web_profile.email: 1 row" in outcome.summary
    assert str(key) in outcome.summary
    assert "late@example.org" not in str(outcome)


def test_verification_fails_under_another_key(site):
    EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))

    outcome = EncryptionVerify().execute(seen(site, key=new_key()))

    assert outcome.status == "fail"
    assert "no known key opens" in outcome.summary


# -- decrypt


def test_decrypting_opens_every_token_and_its_undo_seals_all_again(site):
    said = plaintext(site)
    EncryptionEncrypt().execute(begun(EncryptionEncrypt(), seen(site)))
    here = replace(begun(EncryptionDecrypt(), seen(site)), run="staging-2", step="decrypt", fence=2)

    EncryptionDecrypt().execute(here)
    assert values(site) == said

    EncryptionDecrypt().compensate(here)
    assert unsealed(site) == set()
    assert plaintext(site) == said


def test_the_step_says_who_works_and_whether_others_come_first(site):
    how = EncryptionEncrypt.model_validate({"workers": 3, "others_first": False})

    with work(seen(site), how=how) as given:
        assert (given.crew.many, given.crew.others_first) == (3, False)
    with work(seen(site), how=EncryptionEncrypt()) as given:
        assert given.crew.others_first
