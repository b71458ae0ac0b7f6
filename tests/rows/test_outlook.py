"""What is foretold of a rewrite is what it then takes, as the server itself counts it."""

import time

from servers import MariaPrimary, Store

from deployguard.databases.measure import bytes_of
from deployguard.rows import rewrite
from deployguard.rows.outlook import outlook, window
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import verify

COLUMNS = (EncryptedColumn("person", "email", ("id",)), EncryptedColumn("person", "note", ("id",)))
ROWS = 5000
TOKEN = 120
"""Bytes of a token of 16 to 31 bytes: the Fernet specification's 57 and two blocks, in base64."""
MORE = ROWS * (TOKEN - len("user1234@example.org") + TOKEN - 30)


def filled(store):
    engine = " ENGINE=InnoDB" if store.product == "mariadb" else ""
    store.run(
        f"CREATE TABLE person (id int PRIMARY KEY, email varchar(300), note varchar(300), other varchar(99)){engine}"
    )
    store.run("CREATE INDEX by_email ON person (email)")
    store.run_many(
        "INSERT INTO person VALUES (?, ?, ?, ?)",
        [(n, f"user{n:04}@example.org", "x" * 30, "something else") for n in range(ROWS)],
    )
    store.run({"sqlite": "ANALYZE", "postgresql": "ANALYZE person", "mariadb": "ANALYZE TABLE person"}[store.product])
    return store


def foretold(database, keyring):
    (found,) = outlook(database, verify(database, COLUMNS, keyring, pulse=lambda _: None).columns)
    return found


def encrypt(database, keyring):
    rewrite.encrypt(
        database, COLUMNS, keyring, operation="enc", fence=1, pulse=lambda _: None, since=time.time()
    )  # fmt: skip


def test_rows_bytes_and_indexes_are_counted(store, opened, keyring):
    found = foretold(opened(filled(store), read_only=True), keyring)

    assert (found.table, found.rows, found.more) == ("person", ROWS, MORE)
    assert found.indexes == ROWS * (TOKEN - len("user1234@example.org"))
    assert found.bytes > ROWS * 70
    assert found.room >= 2 * found.bytes


def test_what_goes_to_postgresqls_wal_is_about_what_was_foretold(postgres, opened, keyring):
    database = opened(filled(postgres))
    said = foretold(database, keyring).log
    position = "SELECT pg_current_wal_lsn() - '0/0'"
    postgres.run("CHECKPOINT")
    before = database.number(position)

    encrypt(database, keyring)

    assert 0.5 < (database.number(position) - before) / said < 2.5


def test_what_goes_to_mariadbs_binary_log_is_about_what_was_foretold(opened, keyring):
    server = MariaPrimary()
    try:
        server.run("CREATE DATABASE shop")
        store = Store("mariadb", server.url("shop"), lambda: server.connect("shop"))
        database = opened(filled(store))
        said, before = foretold(database, keyring).log, written(store)

        encrypt(database, keyring)

        assert 0.5 < (written(store) - before) / said < 2.5
        store.close()
    finally:
        server.stop()


def written(store):
    return sum(int(row[1]) for row in store.run("SHOW BINARY LOGS"))


def test_without_a_binary_log_none_is_foretold(mariadb, opened, keyring):
    assert foretold(opened(filled(mariadb), read_only=True), keyring).log is None


def test_a_table_takes_no_more_room_than_was_foretold(store, opened, keyring):
    database = opened(filled(store))
    said = foretold(database, keyring)

    encrypt(database, keyring)

    if store.product == "mariadb":
        store.run("ANALYZE TABLE person")
    assert said.bytes < bytes_of(database, database.identity().engine, "person") <= said.room


def test_nothing_to_encrypt_means_nothing_for_anybody(store, opened, keyring):
    database = opened(filled(store))
    encrypt(database, keyring)

    found = foretold(database, keyring)

    assert (found.rows, found.more, found.indexes) == (0, 0, 0)
    assert not found.log


def test_triggers_that_fire_are_named(sqlite, opened, keyring):
    filled(sqlite)
    sqlite.run("CREATE TRIGGER watching AFTER UPDATE ON person BEGIN SELECT 1; END")

    assert foretold(opened(sqlite, read_only=True), keyring).triggers == ("watching",)


def test_columns_that_the_application_cannot_read_in_plain_need_a_window():
    columns = (COLUMNS[0], EncryptedColumn("person", "note", ("id",), reads_plaintext=False))

    assert window(columns) == ("person.note",)
