"""`encryption.scrub`: what encrypting left in the files is gone afterwards, or it is said where it is."""

import random
import string
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from checking import context
from cryptography.fernet import Fernet

from deployguard.databases import connect
from deployguard.errors import ConnectionLost
from deployguard.keys.keyring import Keyring
from deployguard.rows import rewrite
from deployguard.rows.target import EncryptedColumn
from deployguard.secret import Secret
from deployguard.steps.encryption_scrub import EncryptionScrub

EMAIL = EncryptedColumn("person", "email", ("id",))
ROWS = 3000


def word():
    return "".join(random.choices(string.ascii_lowercase, k=24))


@pytest.fixture
def people(store):
    """An encrypted table, and what stood there in plain."""
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email VARCHAR(300))")
    store.run("CREATE INDEX person_email ON person (email)")
    store.words = [word() for _ in range(ROWS)]
    store.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(store.words)))
    store.key = Fernet.generate_key().decode()
    return store


@pytest.fixture
def encrypted(people, tmp_path):
    database = connect(people.url, base=tmp_path)
    rewrite.encrypt(
        database, [EMAIL], Keyring(Secret(people.key, name="key")), operation="enc", fence=1,
        pulse=lambda _: None, since=0,
    )  # fmt: skip
    database.close()
    return people


@pytest.fixture
def here(people, tmp_path):
    made = context(tmp_path, url=people.url, secrets={"encryption_key": people.key}, keys=["encryption_key"])
    made.target.remembered["discovery"] = SimpleNamespace(fields=(EMAIL,))
    return replace(made, fence=1)


def place(outcome, what):
    return next(p for p in outcome.evidence["places"] if what in p["what"])


def table(store):
    return "the database's file" if store.product == "sqlite" else "the table person"


def data_files(store):
    if store.product == "sqlite":
        path = Path(store.url.removeprefix("sqlite:///"))
        return [path, Path(f"{path}-wal")]
    if store.product == "postgresql":
        base = Path(store.run("SELECT current_setting('data_directory')")[0][0])
        return [base / store.run("SELECT pg_relation_filepath('person')")[0][0]]
    folder, schema = store.run("SELECT @@datadir, DATABASE()")[0]
    return [Path(folder) / schema / "person.ibd"]


def in_files(store):
    """How many of the words stand in the table's files, by reading them."""
    content = b"".join(file.read_bytes() for file in data_files(store) if file.exists())
    return sum(w.encode() in content for w in store.words[:300])


def test_what_encrypting_left_in_the_files_is_seen_and_gone_afterwards(encrypted, here):
    outcome = EncryptionScrub().execute(here)

    looked = place(outcome, table(encrypted))
    assert outcome.evidence["samples"] == 65
    # SQLite and InnoDB write the new value over the old one, mostly
    assert looked["before"] > 0 or encrypted.product != "postgresql"
    assert looked["found"] == 0
    assert in_files(encrypted) == 0
    assert encrypted.run("SELECT count(*) FROM person WHERE email LIKE 'gAAAA%'") == [(ROWS,)]


def test_only_looking_changes_nothing_and_says_what_is_left(encrypted, here):
    outcome = EncryptionScrub(rewrite=False).execute(here)

    beside = {"sqlite": "its log", "postgresql": "the table person", "mariadb": "the redo log"}[encrypted.product]
    assert place(outcome, beside)["found"] > 0
    assert outcome.status == "warn"
    assert in_files(encrypted) > 0 or encrypted.product == "mariadb"


def test_no_former_value_stands_in_what_is_recorded(encrypted, here):
    outcome = EncryptionScrub(rewrite=False).execute(here)

    said = f"{outcome.summary} {outcome.hint} {outcome.evidence}"
    assert not [w for w in encrypted.words if w in said]


def test_it_names_what_it_does_not_reach(encrypted, here):
    echoes = " ".join(e["what"] for e in EncryptionScrub(rewrite=False).execute(here).evidence["echoes"])

    assert "snapshots of the disk" in echoes
    wanted = {"postgresql": "write-ahead log", "mariadb": "redo log", "sqlite": "freed blocks"}[encrypted.product]
    assert wanted in echoes


def test_the_plan_says_what_others_will_notice_and_the_room_it_takes(encrypted, here):
    preview = EncryptionScrub().preview(here)

    wanted = {"postgresql": "locked for reading and writing", "mariadb": "OPTIMIZE", "sqlite": "writers wait"}
    assert wanted[encrypted.product] in preview.summary
    assert preview.bytes > 10_000


def test_values_too_short_to_be_looked_for_are_said_to_be(people, here, tmp_path):
    people.run("UPDATE person SET email = 'short'")
    database = connect(people.url, base=tmp_path)
    keyring = Keyring(Secret(people.key, name="key"))
    rewrite.encrypt(database, [EMAIL], keyring, operation="enc", fence=1, pulse=lambda _: None, since=0)
    database.close()

    outcome = EncryptionScrub().execute(here)

    assert (outcome.status, outcome.summary) == ("warn", "no encrypted value is long enough to be looked for")


def test_a_table_that_somebody_holds_is_not_waited_for_without_end(encrypted, here, monkeypatch):
    with closing(encrypted.another()) as other, monkeypatch.context() as impatient:
        for module in ("postgres", "mysql"):
            impatient.setattr(f"deployguard.databases.{module}.LOCK_WAIT", 1.0)
        impatient.setattr("deployguard.databases.sqlite._BUSY", 1.0)
        other.connection.isolation_level = None
        other.connection.execute("BEGIN IMMEDIATE") if encrypted.product == "sqlite" else other.run("BEGIN")
        if encrypted.product != "sqlite":
            other.run("UPDATE person SET id = id WHERE id = 1")

        with pytest.raises(ConnectionLost):
            EncryptionScrub().execute(here)

        other.connection.rollback()
    # patiently again: an autovacuum that has the table gives way after a second
    assert place(EncryptionScrub().execute(here), table(encrypted))["found"] == 0


def test_files_that_may_not_be_seen_are_named(encrypted, here):
    if encrypted.product != "postgresql":
        pytest.skip("only PostgreSQL keeps the place of its files from ordinary users")
    encrypted.run("CREATE ROLE clerk LOGIN")
    encrypted.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
    clerk = encrypted.url.replace("postgres@", "clerk@")
    mine = replace(here, target=replace(here.target, database_url=clerk))

    outcome = EncryptionScrub(rewrite=False).execute(mine)

    encrypted.run("DROP OWNED BY clerk")
    encrypted.run("DROP ROLE clerk")
    assert outcome.status == "warn"
    assert "not looked at: the table person, the write-ahead log" in outcome.summary
