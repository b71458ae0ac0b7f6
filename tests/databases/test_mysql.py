"""What is MariaDB's and MySQL's alone."""

import pytest
from changing import Change, together

from deployguard.databases import connect
from deployguard.databases.base import RowTable
from deployguard.errors import ConnectionLost, DeployguardError, Refused, StepFailed
from deployguard.rows.tables import tables_of
from deployguard.rows.target import EncryptedColumn

THING = RowTable("thing", ("k",), ("v",))


def swap(database, *changes, table=THING):
    database.claim(1)
    with database.batch(1) as batch:
        return batch.swap(database.ready(table, together(*changes)))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("bigint unsigned", [0, 2**64 - 1]),
        ("decimal(30,10)", ["-1.5000000000", "12345678901234567890.0123456789"]),
        ("datetime(6)", ["2024-02-29 23:59:59.999998", "2024-02-29 23:59:59.999999"]),
        ("timestamp(6)", ["2024-03-31 00:30:00.000000", "2024-03-31 01:30:00.000000"]),
        ("date", ["1000-01-01", "2024-02-29"]),
        ("uuid", ["0c6a8a3e-7ad2-4d3f-9d4e-2f8d1f6b1c11", "f6b1c110-7ad2-4d3f-9d4e-2f8d1f6b1c11"]),
        ("varbinary(20)", [b"\x00", b"'\\", b"a", b"\xff"]),
        ("varchar(20) CHARACTER SET latin1", ["a", "B", "ß", "é"]),
        ("varchar(20) COLLATE utf8mb4_bin", ["A", "a", "ä", "😀"]),
        ("varchar(20) COLLATE utf8mb4_german2_ci", ["a", "B", "ß", "z"]),
    ],
)
def test_keys_of_mysqls_own_types(mariadb, opened, kind, keys):
    mariadb.run(f"CREATE TABLE thing (k {kind} NOT NULL PRIMARY KEY, v text)")
    mariadb.run("SET time_zone = '+00:00'")
    mariadb.run_many("INSERT INTO thing VALUES (?, 'old')", [(key,) for key in keys])
    database, after, seen = opened(mariadb), None, []

    while page := database.page(THING, after, 1):
        after = page[-1].key
        seen.append(after[0])
        assert swap(database, Change(after, (0,), (b"old",), (b"new",))) == []

    assert sorted(seen) == sorted(keys)
    assert len(database.rows(THING, [(key,) for key in keys])) == len(keys)
    assert mariadb.run("SELECT DISTINCT v FROM thing") == [("new",)]


@pytest.mark.parametrize("kind", ["enum('a')", "float", "varchar(20) CHARACTER SET sjis", "bit(8)"])
def test_a_key_that_does_not_come_back_exactly_is_refused(mariadb, opened, kind):
    mariadb.run(f"CREATE TABLE thing (k {kind} NOT NULL PRIMARY KEY, v text)")

    with pytest.raises(Refused, match=r"thing\.k is of the type"):
        opened(mariadb).page(THING, None, 1)


@pytest.mark.parametrize("key", ["k int PRIMARY KEY", "k varchar(20) CHARACTER SET latin1 PRIMARY KEY"])
def test_a_batch_finds_its_rows_by_the_primary_key(mariadb, opened, key):
    mariadb.run(f"CREATE TABLE thing ({key}, v text)")
    mariadb.run("INSERT INTO thing SELECT seq, 'old' FROM seq_1_to_5000")
    database = opened(mariadb)
    found = [row.key for row in database.page(THING, None, 100)]
    mariadb.run("FLUSH STATUS")
    before = dict(database._all("SHOW SESSION STATUS LIKE 'Handler_read%%'"))

    assert swap(database, *(Change(k, (0,), (b"old",), (b"new",)) for k in found)) == []

    after = dict(database._all("SHOW SESSION STATUS LIKE 'Handler_read%%'"))
    assert int(after["Handler_read_key"]) - int(before["Handler_read_key"]) >= 100
    assert int(after["Handler_read_rnd_next"]) - int(before["Handler_read_rnd_next"]) < 1000


def test_a_page_of_a_key_of_several_columns_reads_no_more_than_itself(mariadb, opened):
    mariadb.run("CREATE TABLE thing (a int, b int, v text, PRIMARY KEY (a, b))")
    mariadb.run("INSERT INTO thing SELECT seq DIV 4000, seq, 'old' FROM seq_1_to_8000")
    database, table = opened(mariadb), RowTable("thing", ("a", "b"), ("v",))
    database.page(table, None, 1)
    before = dict(database._all("SHOW SESSION STATUS LIKE 'Handler_read%%'"))

    assert [row.key for row in database.page(table, (0, 3990), 3)] == [(0, 3991), (0, 3992), (0, 3993)]

    after = dict(database._all("SHOW SESSION STATUS LIKE 'Handler_read%%'"))
    assert sum(int(after[k]) - int(before[k]) for k in after if k != "Handler_read_rnd_next") < 20


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("json", "json"), ("date", "date"), ("char(200)", "char"), ("blob", "blob"), ("int", "int"),
     ("text CHARACTER SET sjis", "in sjis"), ("inet6", "inet6")],
)  # fmt: skip
def test_a_column_that_is_not_text_is_refused_by_name(mariadb, opened, kind, shown):
    mariadb.run(f"CREATE TABLE thing (k int PRIMARY KEY, v {kind})")

    with pytest.raises(Refused, match=rf"thing\.v is of the type .*{shown}"):
        tables_of(opened(mariadb), [EncryptedColumn("thing", "v", ("k",))])


@pytest.mark.parametrize("charset", ["utf8mb4", "utf8mb3", "latin1"])
def test_text_of_other_character_sets_is_read_and_written_as_utf8(mariadb, opened, charset):
    mariadb.run(f"CREATE TABLE thing (k int PRIMARY KEY, v text CHARACTER SET {charset})")
    mariadb.run("INSERT INTO thing VALUES (1, 'Größe ')")
    database, text = opened(mariadb), "Größe ".encode()

    assert database.page(THING, None, 1)[0].values == (text,)
    assert swap(database, Change((1,), (0,), (text.rstrip(),), (b"new",))) == [(1,)]
    assert swap(database, Change((1,), (0,), (text,), (b"new",))) == []
    assert swap(database, Change((1,), (0,), (b"new",), (text,))) == []
    assert mariadb.run("SELECT v FROM thing") == [("Größe ",)]


def test_what_a_character_set_cannot_hold_is_refused_and_not_replaced(mariadb, opened):
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY, v text CHARACTER SET latin1)")
    mariadb.run("INSERT INTO thing VALUES (1, 'old')")

    with pytest.raises(DeployguardError):
        swap(opened(mariadb), Change((1,), (0,), (b"old",), ("😀".encode(),)))

    assert mariadb.run("SELECT v FROM thing") == [("old",)]


@pytest.mark.parametrize(("clause", "why"), [("ENGINE=MyISAM", "MyISAM"), ("WITH SYSTEM VERSIONING", "history")])
def test_tables_without_transactions_or_with_a_history_are_refused(mariadb, opened, clause, why):
    mariadb.run(f"CREATE TABLE thing (k int PRIMARY KEY, v text) {clause}")

    with pytest.raises(Refused, match=why):
        tables_of(opened(mariadb), [EncryptedColumn("thing", "v", ("k",))])


def test_nul_is_a_character_and_invalid_utf8_is_named_by_its_key(mariadb, opened):
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    mariadb.run("INSERT INTO thing VALUES (1, 'old')")
    database = opened(mariadb)

    with pytest.raises(StepFailed, match="thing, primary key 1"):
        swap(database, Change((1,), (0,), (b"old",), (b"\xff",)))

    assert swap(database, Change((1,), (0,), (b"old",), (b"a\0b",))) == []
    assert mariadb.run("SELECT v FROM thing") == [("a\0b",)]


def test_a_batch_larger_than_a_packet_is_sent_in_parts(mariadb, opened):
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY, v longtext)")
    mariadb.run("INSERT INTO thing SELECT seq, 'old' FROM seq_1_to_30")
    new = b"x" * 300_000

    assert swap(opened(mariadb), *(Change((n,), (0,), (b"old",), (new,)) for n in range(1, 31))) == []
    assert mariadb.run("SELECT count(*), min(length(v)) FROM thing") == [(30, 300_000)]


@pytest.mark.parametrize("news", [lambda n: "x" * (10 if n < 150 else 4000), lambda _: "'" * 400])
def test_no_statement_is_larger_than_a_packet_whatever_the_values_are(mariadb, opened, news):
    """Short ones filled up to the size of long ones, and such as travel in hexadecimal."""
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY, v longtext)")
    mariadb.run("INSERT INTO thing SELECT seq, '' FROM seq_1_to_1000")
    database = opened(mariadb)
    database._packet = 400_000
    news = [news(n) for n in range(1000)]

    ready = database.ready(
        THING, together(*(Change((n,), (0,), (b"",), (new.encode(),)) for n, new in enumerate(news, 1)))
    )
    database.claim(1)
    with database.batch(1) as batch:
        assert batch.swap(ready) == []

    assert max(len(part.sent) for part in ready.parts) < 400_000
    assert mariadb.run("SELECT length(v) FROM thing ORDER BY k") == [(len(new),) for new in news]


def test_triggers_that_an_update_fires_are_named(mariadb, opened):
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    mariadb.run("CREATE TRIGGER history BEFORE UPDATE ON thing FOR EACH ROW SET NEW.v = NEW.v")
    mariadb.run("CREATE TRIGGER birth BEFORE INSERT ON thing FOR EACH ROW SET NEW.v = NEW.v")

    assert opened(mariadb).shape("thing").triggers == ("history",)


def test_the_session_is_strict_on_a_lax_server(mariadb, opened):
    assert mariadb.run("SELECT @@sql_mode") == [("",)]
    assert "STRICT_ALL_TABLES" in opened(mariadb)._all("SELECT @@sql_mode")[0][0]


def test_a_query_for_a_number_can_change_nothing(mariadb, opened):
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY)")

    for query in ("INSERT INTO thing VALUES (1) RETURNING k", "DROP TABLE thing"):
        with pytest.raises(DeployguardError):
            opened(mariadb).number(query)

    assert mariadb.run("SELECT * FROM thing") == []


@pytest.mark.parametrize("change", [("/site", "/absent_site"), ("root@", "nobody:geheim@"), ("?", "?x=1")])
def test_a_url_that_the_server_turns_down_is_refused(mariadb, tmp_path, change):
    with pytest.raises(Refused) as told:
        connect(f"{mariadb.url}?".replace(*change), base=tmp_path)

    assert "geheim" not in f"{told.value} {told.value.hint}"


def test_a_server_that_is_not_there_can_be_tried_again(tmp_path):
    with pytest.raises(ConnectionLost, match="cannot be reached") as told:
        connect("mysql://me:geheim@127.0.0.1:1/site", base=tmp_path)

    assert "geheim" not in f"{told.value!r} {told.value.hint}"


def test_a_lost_connection_is_told_and_the_next_call_makes_a_new_one(mariadb, opened):
    mariadb.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    mariadb.run("INSERT INTO thing VALUES (1, 'old')")
    database = opened(mariadb)
    database.claim(1)
    number = database._all("SELECT connection_id()")[0][0]

    with pytest.raises(ConnectionLost), database.batch(1) as batch:  # noqa: PT012 - the batch is what fails
        mariadb.run(f"KILL CONNECTION {number}")
        batch.swap(database.ready(THING, together(Change((1,), (0,), (b"old",), (b"new",)))))

    assert mariadb.run("SELECT v FROM thing") == [("old",)]
    assert swap(database, Change((1,), (0,), (b"old",), (b"new",))) == []


def test_state_that_was_half_made_when_a_claim_was_killed_is_completed(mariadb, tmp_path):
    first = connect(mariadb.url, base=tmp_path)
    first.claim(1)
    first.close()
    # each of these statements commits by itself, so a kill may leave any beginning of their row
    mariadb.run("DROP TABLE deployguard_fence, deployguard_checkpoint")

    second = connect(mariadb.url, base=tmp_path)
    second.claim(2)

    assert second.checkpoints("operation", "person") == []
    assert not second.keeps("operation", "person")
    second.close()
