"""MariaDB, with its own dump program and a real server."""

import os
import random
import time
from dataclasses import replace
from io import BytesIO

import pymysql
import pytest
from beside import beside
from damages import restored_and_nothing_else_changed
from sites import at, killed

from deployguard.backup.base import Loss
from deployguard.backup.mysql_stream import ForCopy, Resumed
from deployguard.backup.products import product as product_for
from deployguard.backup.restore import restore
from deployguard.backup.take import Order, take
from deployguard.errors import Damaged, Refused, StepFailed

ORDER = Order("before", "production", run="r1", step="backup", reason="a test")
ODD = "o`r\"der?=% '\\ select 表"
TORTURE = r"""
CREATE TABLE person (
    id int PRIMARY KEY AUTO_INCREMENT, name varchar(200) CHARACTER SET latin1, note text, kind enum('a','b'),
    flags bit(9), facts json, born timestamp(6) NULL, weight double, price decimal(20,9), photo blob,
    shout varchar(200) GENERATED ALWAYS AS (upper(note)) STORED, CHECK (weight > -1), KEY (kind, name(10))
);
CREATE TABLE {odd} (
    `sel``ect` varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, person int,
    FOREIGN KEY (person) REFERENCES person (id) ON DELETE CASCADE
);
CREATE TABLE event (at date NOT NULL, what text) PARTITION BY RANGE (year(at)) (
    PARTITION p0 VALUES LESS THAN (2026), PARTITION p1 VALUES LESS THAN MAXVALUE
);
CREATE TABLE credit (n bigint PRIMARY KEY);
CREATE TABLE debit (n bigint PRIMARY KEY);
CREATE SEQUENCE ticket START 41;
CREATE VIEW people AS SELECT p.id, p.name FROM person p JOIN {odd} o ON o.person = p.id;
CREATE PROCEDURE clean(IN low int) DELETE FROM person WHERE id < low;
CREATE FUNCTION twice(x int) RETURNS int DETERMINISTIC RETURN x * 2;
CREATE EVENT nightly ON SCHEDULE EVERY 1 SECOND DO DELETE FROM credit;
INSERT INTO person (name, note, kind, flags, facts, born, weight, price, photo)
SELECT concat('Zoë ', seq), concat('😀 \\ \n-- Dumping events for database \t', seq), 'a', b'101',
       '{"a": [1, null]}', '2026-01-01 00:00:00.123', seq / 7, seq / 7, 0x00ff1a27 FROM seq_1_to_200;
INSERT INTO {odd} SELECT if(seq = 3, NULL, concat('s', seq)), seq FROM seq_1_to_50;
INSERT INTO event VALUES ('2026-05-05', 'spring')
"""
PEOPLE = "SELECT name, note, shout, hex(photo), price FROM person ORDER BY id"


@pytest.fixture
def site(mariadb):
    for statement in TORTURE.split(";\n"):
        mariadb.run(statement.replace("{odd}", mariadb.quote(ODD)))
    return mariadb


@pytest.fixture
def product(site, tmp_path):
    return product_for(site.url, base=tmp_path)


@pytest.fixture
def backup(product, store):
    return take(product, store, ORDER)


@pytest.fixture(autouse=True)
def no_leftovers(mariadb_server):
    """What a restore keeps goes with the test."""
    before = databases(mariadb_server)
    yield
    with mariadb_server.connect() as connection, connection.cursor() as cursor:
        for name in databases(mariadb_server) - before:
            if ".before-restore-" in name:
                cursor.execute(f"DROP DATABASE `{name}`")


def databases(server):
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES")
        return {name for (name,) in cursor.fetchall()}


def look(server, name, query=PEOPLE):
    with server.connect(name) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def name_of(site):
    return site.url.rsplit("/", 1)[1]


def facts(product, store):
    from deployguard.backup.mysql_facts import facts_of

    with product.connection() as connection:
        return facts_of(connection, product.where.database, store.key.digests, store.pulse)


def test_everything_that_a_database_may_hold_is_restored_and_compared(product, store, mariadb_server):
    before = databases(mariadb_server)

    backup = take(product, store, ORDER)

    assert backup.manifest.state == "restored"
    assert backup.manifest.rows == {"person": 200, ODD: 50, "event": 1, "credit": 0, "debit": 0}
    assert databases(mariadb_server) == before


MORE = (
    "CREATE TRIGGER trimmed BEFORE INSERT ON person FOR EACH ROW SET NEW.note = trim(NEW.note)",
    "ALTER TABLE person ADD COLUMN short varchar(9) GENERATED ALWAYS AS (left(note, 9)) VIRTUAL",
    "CREATE TABLE large (id int PRIMARY KEY, data longblob)",
    "INSERT INTO large VALUES (1, repeat(0x00ff275c, 1500000))",
    "CREATE TABLE parted (id int) PARTITION BY HASH (id) PARTITIONS 3",
    "CREATE SEQUENCE down START 100 INCREMENT -3 MAXVALUE 100 MINVALUE -1000",
    "CREATE PROCEDURE looped() BEGIN DECLARE n int DEFAULT 0; WHILE n < 3 DO SET n = n + 1; END WHILE; END",
    "DO nextval(ticket), nextval(down), nextval(down)",
)
CHANGES = {
    "a byte of a large value": "UPDATE large SET data = insert(data, 3000000, 1, 'x')",
    "a sequence": "ALTER SEQUENCE ticket RESTART 41",
    "a sequence that counts down": "ALTER SEQUENCE down RESTART 100",
    "a view": "DROP VIEW people",
    "a trigger": "DROP TRIGGER trimmed",
    "the body of a procedure": "CREATE OR REPLACE PROCEDURE looped() BEGIN END",
    "a function": "DROP FUNCTION twice",
    "a partition": "ALTER TABLE event REORGANIZE PARTITION p0, p1 INTO (PARTITION p VALUES LESS THAN MAXVALUE)",
    "a stored generated column": "ALTER TABLE person MODIFY shout varchar(200)",
    "a virtual generated column": "ALTER TABLE person DROP short",
    "a foreign key": "ALTER TABLE {odd} DROP FOREIGN KEY {key}",
    "a rule": "ALTER TABLE person DROP CONSTRAINT CONSTRAINT_1",
}


@pytest.fixture
def full(site):
    """With what a swap would refuse, too."""
    for statement in MORE:
        site.run(statement)
    return site


def test_what_a_swap_would_refuse_is_backed_up_and_compared_too(product, store, full):
    backup = take(product, store, ORDER)

    assert backup.manifest.state == "restored"
    assert backup.manifest.rows["large"] == 1
    assert backup.manifest.facts.counters.keys() == {"ticket", "down"}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_copy_that_lacks_one_thing_is_told_from_the_original(product, store, full, change):
    before = facts(product, store)
    keys = full.run(
        "SELECT constraint_name FROM information_schema.referential_constraints WHERE constraint_schema = database()"
    )

    full.run(change.replace("{odd}", full.quote(ODD)).replace("{key}", full.quote(keys[0][0])))

    assert before.differences(facts(product, store))


def test_beside_a_writer_who_takes_numbers_from_a_sequence_it_is_restored_and_equal(
    product, store, site, mariadb_server
):
    done = []

    def write(stop):
        with mariadb_server.connect(name_of(site)) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                done.append(cursor.execute("DO nextval(ticket)"))

    with beside(write):
        states = [take(product, store, replace(ORDER, id=f"b{n}")).manifest.state for n in range(3)]

    assert states == ["restored"] * 3
    assert done


def test_a_value_that_no_statement_can_carry_is_refused_with_what_to_do(product, store, site):
    """Measured: with max_allowed_packet at its default of 16 MiB, a BLOB of 9 MiB is too much: a dump writes it in hex."""
    site.run("CREATE TABLE large (id int PRIMARY KEY, data longblob)")
    site.run("INSERT INTO large VALUES (1, repeat('x', 9 * 1024 * 1024))")

    with pytest.raises(StepFailed) as caught:
        take(product, store, ORDER)

    assert "max_allowed_packet" in caught.value.hint
    assert list(store.destination.path.iterdir()) == []


def test_beside_a_live_writer_it_shows_one_moment(product, store, site, mariadb_server):
    def write(stop):
        with pymysql.connect(
            host="127.0.0.1", port=mariadb_server.port, user="root", database=name_of(site)
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            n = 0
            while not stop.is_set():
                n += 1
                cursor.execute("INSERT INTO credit VALUES (%s)", (n,))
                cursor.execute("INSERT INTO debit VALUES (%s)", (n,))
                connection.commit()

    with beside(write):
        taken = [take(product, store, replace(ORDER, id=f"b{n}")).manifest.rows for n in range(2)]

    assert all(rows["credit"] == rows["debit"] for rows in taken)
    assert taken[-1]["credit"] > taken[0]["credit"]


def test_encrypted_it_holds_nothing_that_can_be_read_and_restores(product, store, site, mariadb_server):
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    people = look(mariadb_server, name_of(site))

    backup = take(product, store, replace(ORDER, recipients=(str(identity.to_public()),)))
    site.run("DELETE FROM person")
    restore(product, backup, store, [identity])

    assert b"INSERT INTO" not in (at(backup) / "database.sql.zst.age").read_bytes()
    assert look(mariadb_server, name_of(site)) == people


def test_a_restore_brings_back_every_value_and_keeps_the_former_database(product, store, backup, site, mariadb_server):
    name, people = name_of(site), look(mariadb_server, name_of(site))
    site.run("UPDATE person SET note = 'token'")
    site.run("ALTER TABLE person ADD COLUMN extra text")
    site.run("DROP TABLE debit")

    done = restore(product, backup, store)

    assert facts(product, store) == backup.manifest.facts
    assert look(mariadb_server, name) == people
    assert {row[1] for row in look(mariadb_server, done.kept)} == {"token"}
    assert len(look(mariadb_server, name, "SELECT * FROM people")) == 50


def test_what_would_be_lost_is_counted_by_table(product, store, backup, site):
    site.run("UPDATE person SET note = 'x' WHERE id <= 7")
    site.run("DELETE FROM person WHERE id = 200")
    site.run("ALTER TABLE person ADD z int")
    site.run("INSERT INTO person (name) VALUES ('new')")
    site.run("CREATE TABLE extra (n int)")
    site.run("INSERT INTO extra VALUES (1), (1)")
    site.run("INSERT INTO event VALUES ('2026-05-05', 'spring')")

    loss = restore(product, backup, store).loss

    assert loss["person"] == Loss(added=1, changed=7, removed=1)
    assert loss["extra"] == Loss(added=2)
    assert loss["event"] == Loss(added=1)
    assert "credit" not in loss


@pytest.fixture
def staff(site, mariadb_server):
    """Two users with rights on the database, a table, columns and a routine."""
    name = name_of(site)
    mariadb_server.run("CREATE USER app, clerk")
    mariadb_server.run(f"GRANT SELECT, INSERT, UPDATE ON `{name}`.* TO app")
    mariadb_server.run(f"GRANT SELECT (id, kind), UPDATE (kind), DELETE ON `{name}`.person TO clerk WITH GRANT OPTION")
    mariadb_server.run(f"GRANT SELECT ON `{name}`.{site.quote(ODD)} TO clerk")
    mariadb_server.run(f"GRANT EXECUTE ON FUNCTION `{name}`.twice TO clerk")
    yield
    mariadb_server.run("DROP USER app, clerk")


def _rights(server):
    with server.connect() as connection, connection.cursor() as cursor:
        found = []
        for user in ("app", "clerk"):
            cursor.execute(f"SHOW GRANTS FOR {user}")
            found += [row[0] for row in cursor.fetchall()]
    return found


def _as(user, server, name, query):
    with (
        pymysql.connect(host="127.0.0.1", port=server.port, user=user, database=name) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        return list(cursor.fetchall())


def test_rights_on_database_tables_columns_and_routines_are_as_before_and_reach_the_restored_rows(
    product, store, backup, site, staff, mariadb_server
):
    name, before = name_of(site), _rights(mariadb_server)
    site.run("UPDATE person SET kind = 'b'")

    kept = restore(product, backup, store).kept

    assert _rights(mariadb_server) == before
    assert len(_as("app", mariadb_server, name, "SELECT * FROM person")) == 200
    assert _as("clerk", mariadb_server, name, "SELECT DISTINCT kind, twice(2) FROM person") == [("a", 4)]
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        _as("clerk", mariadb_server, name, "SELECT note FROM person")
    for user in ("app", "clerk"):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            _as(user, mariadb_server, kept, "SELECT 1")


def test_while_a_copy_stands_nobody_gets_at_it_who_has_rights_on_the_original_only(
    product, store, site, staff, mariadb_server
):
    tried = []

    def look_in(label, *_):
        if label == "restored a copy":
            scratch = next(d for d in databases(mariadb_server) if d.startswith("deployguard_"))
            for user in ("app", "clerk"):
                with pytest.raises(pymysql.err.OperationalError, match="denied"):
                    _as(user, mariadb_server, scratch, "SELECT 1")
                tried.append(user)

    take(product, replace(store, pulse=look_in), ORDER)

    assert tried == ["app", "clerk"]


SETTINGS = (
    "SELECT default_character_set_name, default_collation_name, schema_comment FROM information_schema.schemata"
    " WHERE schema_name = database()"
)


def test_settings_of_the_database_are_as_before_and_the_former_one_has_them_too(product, store, site, mariadb_server):
    name = name_of(site)
    site.run(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german2_ci COMMENT 'the `shop`'")
    backup = take(product, store, ORDER)

    kept = restore(product, backup, store).kept

    assert look(mariadb_server, name, SETTINGS) == [("latin1", "latin1_german2_ci", "the `shop`")]
    assert look(mariadb_server, kept, SETTINGS)[0][:2] == ("latin1", "latin1_german2_ci")


def test_a_trial_restore_alters_the_copy_and_never_the_database_it_is_of(product, store, site, mariadb_server):
    """Measured: for a routine from before a change of character set, the program writes `ALTER DATABASE original`."""
    name = name_of(site)
    mariadb_server.run("SET GLOBAL general_log = OFF")
    mariadb_server.run("TRUNCATE mysql.general_log")
    site.run(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_german2_ci")
    mariadb_server.run("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON")
    try:
        backup = take(product, store, ORDER)
    finally:
        mariadb_server.run("SET GLOBAL general_log = OFF")

    altered = "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE argument LIKE 'ALTER DATABASE%'"
    statements = [said for (said,) in look(mariadb_server, name, altered)]
    assert b"ALTER DATABASE `" in (at(backup) / "database.sql").read_bytes()
    assert statements
    assert not [said for said in statements if name in said]
    assert backup.manifest.state == "restored"


def test_a_session_that_is_open_stays_and_finds_the_restored_rows(product, store, backup, site):
    site.run("UPDATE person SET note = 'token'")

    restore(product, backup, store)

    assert "😀" in site.run("SELECT note FROM person LIMIT 1")[0][0]


def test_a_transaction_that_does_not_end_stops_the_swap_and_nothing_is_changed(
    product, store, backup, site, mariadb_server, monkeypatch
):
    monkeypatch.setattr("deployguard.backup.mysql._LOCK_WAIT", 1)
    before = databases(mariadb_server)
    with mariadb_server.connect(name_of(site)) as application, application.cursor() as cursor:
        application.begin()
        cursor.execute("UPDATE person SET note = 'token'")

        with pytest.raises(Refused, match="in use"):
            restore(product, backup, store)

        application.commit()
    assert databases(mariadb_server) == before
    assert site.run("SELECT DISTINCT note FROM person") == [("token",)]


def test_a_database_with_triggers_is_backed_up_and_not_swapped(product, store, site, mariadb_server):
    site.run("CREATE TRIGGER t BEFORE INSERT ON person FOR EACH ROW SET NEW.note = trim(NEW.note)")
    backup = take(product, store, ORDER)
    before = databases(mariadb_server)

    with pytest.raises(Refused, match="triggers"):
        restore(product, backup, store)

    assert databases(mariadb_server) == before


def test_a_view_that_has_changed_since_stops_the_swap(product, store, backup, site):
    site.run("CREATE OR REPLACE VIEW people AS SELECT id FROM person")

    with pytest.raises(Refused, match="views or routines"):
        restore(product, backup, store)


def test_the_fencing_token_never_goes_back(product, store, site, opened):
    database = opened(site)
    database.claim(3)
    backup = take(product, store, ORDER)
    database.claim(9)

    restore(product, backup, store)

    assert opened(site).fence() == 9


def test_tables_that_no_transaction_covers_are_refused_by_name(product, store, site):
    site.run("CREATE TABLE old_log (x int) ENGINE=MyISAM")

    with pytest.raises(Refused, match="old_log"):
        take(product, store, ORDER)


def test_values_that_the_dump_program_would_round_are_refused(product, store, site):
    """Measured: mariadb-dump 10.11 writes FLOAT 16777216 as 16777200, and exits with 0."""
    site.run("CREATE TABLE measure (id int PRIMARY KEY, x float)")
    site.run("INSERT INTO measure VALUES (1, 0.5), (2, 3)")
    take(product, store, ORDER)
    site.run("INSERT INTO measure VALUES (3, 16777217)")

    with pytest.raises(Refused, match=r"measure\.x is a FLOAT.* 1 of its values"):
        take(product, store, replace(ORDER, id="second"))


def test_damage_is_refused_before_anything_is_made_on_the_server(product, store, backup, mariadb_server):
    before, dice, dump = databases(mariadb_server), random.Random(3), at(backup) / "database.sql"
    whole = dump.read_bytes()
    for _ in range(50):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        dump.write_bytes(data if dice.random() < 0.7 else data[: dice.randrange(len(data))])
        with pytest.raises(Damaged):
            restore(product, backup, store)

    assert databases(mariadb_server) == before


def _damaged_restores(count, product, store, backup, site, server):
    def seen():
        return databases(server), look(server, name_of(site))

    return restored_and_nothing_else_changed(count, product, store, backup, seen)


def test_damage_that_was_sealed_anew_is_found_by_the_restored_copy(product, store, backup, site, mariadb_server):
    assert _damaged_restores(12, product, store, backup, site, mariadb_server) < 12


@pytest.mark.faults
def test_two_hundred_damages_through_a_real_restore_are_found(product, store, backup, site, mariadb_server):
    assert _damaged_restores(200, product, store, backup, site, mariadb_server) < 100


def _dump_program(tmp_path, monkeypatch, script):
    _program("mariadb-dump", tmp_path, monkeypatch, script)


def _program(name, tmp_path, monkeypatch, script):
    """In the place of the real one, which stands in the script as {real}."""
    import shutil

    real = shutil.which(name)
    program = tmp_path / name
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\n' + script.format(real=real))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_a_dump_program_that_dies_leaves_no_backup(product, store, tmp_path, monkeypatch):
    _dump_program(tmp_path, monkeypatch, '{real} "$@"\nexit 3\n')

    with pytest.raises(StepFailed, match="exit status 3"):
        take(product, store, ORDER)

    assert list(store.destination.path.iterdir()) == []


def test_a_dump_that_was_cut_at_a_statement_is_refused_though_the_program_ends_well(
    product, store, tmp_path, monkeypatch
):
    _dump_program(tmp_path, monkeypatch, '{real} "$@" | head -n 60\nexit 0\n')

    with pytest.raises(StepFailed, match="before its last line"):
        take(product, store, ORDER)

    assert list(store.destination.path.iterdir()) == []


SANDBOX = r"/*M!999999\- enable the sandbox mode */"


def test_the_sandbox_line_stays_and_a_client_that_knows_it_restores(
    product, store, tmp_path, monkeypatch, site, mariadb_server
):
    line = SANDBOX.replace("\\", "\\\\")
    _dump_program(tmp_path, monkeypatch, f"printf '{line}\\n'; {{real}} \"$@\" | grep -vF 'sandbox mode'\n")
    people = look(mariadb_server, name_of(site))

    backup = take(product, store, ORDER)
    site.run("DELETE FROM person")
    restore(product, backup, store)

    assert (at(backup) / "database.sql").read_bytes().startswith(SANDBOX.encode() + b"\n")
    assert look(mariadb_server, name_of(site)) == people


def test_a_client_that_stops_at_the_sandbox_line_is_refused_before_a_copy_is_made(
    product, store, backup, site, tmp_path, monkeypatch, mariadb_server
):
    """What a client from before MDEV-21178 is and says: one option less, and `Unknown command` at that line."""
    _program(
        "mariadb", tmp_path, monkeypatch, '[ "$1" = --help ] && {{ {real} --help | grep -v sandbox; exit; }}\nexit 1\n'
    )
    before = databases(mariadb_server)

    with pytest.raises(Refused, match="sandbox line") as caught:
        restore(product, backup, store)

    assert "mariadb-client" in caught.value.hint
    assert databases(mariadb_server) == before


def test_a_restore_that_changes_values_with_a_mere_warning_does_not_pass(product, store, site, tmp_path, monkeypatch):
    """Measured: in the lax mode that a dump sets, what does not fit is cut, and the client ends with 0."""
    _program("mariadb", tmp_path, monkeypatch, 'sed "s/decimal(20,9)/decimal(20,2)/" | {real} "$@"\n')

    with pytest.raises(StepFailed, match="the schema differs"):
        take(product, store, ORDER)

    assert list(store.destination.path.iterdir()) == []


def test_a_dump_that_lacks_rows_does_not_pass_the_trial_restore(product, store, tmp_path, monkeypatch):
    _dump_program(tmp_path, monkeypatch, '{real} "$@" | sed "/INSERT INTO .event./,/;$/d"\n')

    with pytest.raises(StepFailed, match="event"):
        take(product, store, ORDER)

    assert list(store.destination.path.iterdir()) == []


def test_the_password_is_never_an_argument(site, tmp_path):
    product = product_for(site.url.replace("root@", "root:sw0rd%22fish@"), base=tmp_path)

    with product.tool(tmp_path) as word:
        text = (tmp_path / "client.cnf").read_text()
        assert (tmp_path / "client.cnf").stat().st_mode & 0o777 == 0o600

    assert 'password="sw0rd\\"fish"' in text
    assert "fish" not in word
    assert not (tmp_path / "client.cnf").exists()


def test_a_database_of_any_name_is_restored(mariadb_server, store, tmp_path):
    from urllib.parse import quote

    name = "-o`dd 'n?=%;--表"
    quoted = "`" + name.replace("`", "``") + "`"
    mariadb_server.run(f"CREATE DATABASE {quoted}")
    product = product_for(mariadb_server.url("X").replace("X", quote(name, safe="")), base=tmp_path)
    mariadb_server.run(f"CREATE TABLE {quoted}.t (x text)")
    mariadb_server.run(f"INSERT INTO {quoted}.t VALUES ('a')")

    backup = take(product, store, ORDER)
    mariadb_server.run(f"DELETE FROM {quoted}.t")
    done = restore(product, backup, store)

    assert look(mariadb_server, name, "SELECT * FROM t") == [("a",)]
    mariadb_server.run(f"DROP DATABASE {quoted}")
    mariadb_server.run("DROP DATABASE `" + done.kept.replace("`", "``") + "`")


def test_a_scratch_copy_has_no_events_that_could_act():
    text = b"a\n-- Dumping events for database 'x'\nCREATE EVENT\n-- Dumping routines for database 'x'\nb\n"
    stream = ForCopy(BytesIO(text))

    assert b"".join(iter(stream.read, b"")).split() == b"a -- Dumping routines for database 'x' b".split()


@pytest.mark.parametrize("end", [b"", b"-- Dump comp", b"INSERT INTO t VALUES (1);\n"])
def test_a_dump_without_its_last_line_is_no_dump(end):
    stream = Resumed(b"begin", BytesIO(b"\n" + end))

    with pytest.raises(StepFailed, match="last line"):
        b"".join(iter(lambda: stream.read(4), b""))


def _kills(product, store, site, server, rounds):
    dice, name = random.Random(4), name_of(site)
    backup = take(product, store, ORDER)
    people, outcomes = look(server, name), set()
    begun = time.monotonic()
    restore(product, backup, store)
    span = time.monotonic() - begun
    for _ in range(rounds):
        site.run("UPDATE person SET note = 'token'")
        before = databases(server)

        killed(lambda: restore(product, backup, store), after=span * dice.uniform(0.1, 1.2))

        found = look(server, name)
        whole = found == people
        assert whole or {row[1] for row in found} == {"token"}
        assert len(found) == 200
        if whole:
            former = next(d for d in databases(server) - before if not d.startswith("deployguard_"))
            assert {row[1] for row in look(server, former)} == {"token"}
        outcomes.add(whole)
    restore(product, backup, store)
    assert look(server, name) == people
    assert not [d for d in databases(server) if d.startswith("deployguard_")]
    return outcomes


def test_a_kill_leaves_the_former_database_or_the_restored_one(product, store, site, mariadb_server):
    assert _kills(product, store, site, mariadb_server, 6)


@pytest.mark.faults
def test_a_hundred_kills_leave_the_former_database_or_the_restored_one(product, store, site, mariadb_server):
    assert _kills(product, store, site, mariadb_server, 100) == {True, False}
