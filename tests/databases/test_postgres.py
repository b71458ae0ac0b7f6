"""What is PostgreSQL's alone."""

import psycopg
import pytest
from changing import Change, together
from servers import Store

from deployguard.databases import connect
from deployguard.databases.base import Row, RowTable
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
        ("uuid", ["00000000-0000-0000-0000-000000000001", "f0000000-0000-0000-0000-000000000000"]),
        ("numeric(30,10)", ["-1.5000000000", "12345678901234567890.0123456789"]),
        ("timestamptz", ["2024-02-29 23:59:59.999999+00", "2024-03-31 01:30:00+00"]),
        ("date", ["0001-01-01", "2024-02-29"]),
        ("bytea", ["\\x00", "\\xff00"]),
        ("double precision", ["-0.1", "1e-300", "0.30000000000000004", "20", "100"]),
        ("inet", ["10.0.0.1/32", "::1/128"]),
        ("bpchar(4)", ["a", "b"]),
        ('text COLLATE "C"', ["B", "a", "z", "ä"]),
        ("boolean", ["false", "true"]),
    ],
)
def test_keys_of_postgres_own_types(postgres, opened, kind, keys):
    postgres.run(f"CREATE TABLE thing (k {kind} PRIMARY KEY, v text)")
    postgres.run_many("INSERT INTO thing VALUES (?, 'old')", [(key,) for key in keys])
    database, after, seen = opened(postgres), None, []

    while page := database.page(THING, after, 1):
        after = page[-1].key
        seen.append(after[0])
        assert swap(database, Change(after, (0,), (b"old",), (b"new",))) == []

    assert seen == keys
    assert [row.key for row in database.rows(THING, [(key,) for key in keys])] == [(key,) for key in keys]
    assert postgres.run("SELECT DISTINCT v FROM thing") == [("new",)]


@pytest.fixture
def latin(postgres_server):
    """A database whose texts are stored in another encoding than the one we speak."""
    postgres_server.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    store = Store("postgresql", postgres_server.url("latin"), lambda: postgres_server.connect("latin"))
    yield store
    store.close()
    postgres_server.run("DROP DATABASE latin WITH (FORCE)")


def test_texts_are_read_and_compared_as_utf_8_whatever_the_server_stores(latin, opened):
    latin.run("CREATE TABLE thing (k text PRIMARY KEY, v text)")
    latin.run("INSERT INTO thing VALUES ('schlüssel', 'größe')")
    database, key = opened(latin), ("schlüssel",)

    assert [*database.page(THING, None, 9)] == [*database.rows(THING, [key])] == [Row(key, ("größe".encode(),))]
    assert swap(database, Change(key, (0,), (b"grosse",), (b"new",))) == [key]
    assert swap(database, Change(key, (0,), ("größe".encode(),), ("länge".encode(),))) == []
    assert latin.run("SELECT v FROM thing") == [("länge",)]


@pytest.mark.parametrize("rows", [3000, pytest.param(1_000_000, marks=pytest.mark.faults)])
def test_a_batch_finds_its_rows_by_the_key_whatever_the_planner_was_told(postgres, opened, rows):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    postgres.run(f"INSERT INTO thing SELECT n, 'old' FROM generate_series(1, {rows}) n")
    postgres.run("UPDATE pg_class SET reltuples = 2, relpages = 1 WHERE relname = 'thing'")
    database, plans = opened(postgres), []
    connection = database._connection
    connection.execute("LOAD 'auto_explain'")
    connection.execute("SET auto_explain.log_min_duration = 0; SET auto_explain.log_level = notice")
    connection.execute("SET client_min_messages = notice")
    connection.add_notice_handler(lambda notice: plans.append(notice.message_primary))

    swap(database, *(Change((n,), (0,), (b"old",), (b"new",)) for n in range(1, 2000)))
    database.page(THING, (1000,), 500)

    writing = next(plan for plan in plans if 'UPDATE "thing"' in plan)
    reading = next(plan for plan in plans if 'ORDER BY t."k"' in plan)
    assert "Index Scan using thing_pkey on thing t" in writing
    assert "Seq Scan on thing" not in writing
    assert "Index Scan using thing_pkey" in reading
    assert "Sort" not in reading


def test_no_plan_is_compiled(postgres, opened):
    """Measured with release 15: compiling each batch's plan took four fifths of the time."""
    assert postgres.run("SHOW jit") == [("on",)]
    assert opened(postgres)._all("SHOW jit") == [("off",)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("jsonb", '{"a": 1}'), ("json", "{}"), ("inet", "10.0.0.1"), ("date", "2024-02-29"), ("char(9)", "a"),
     ("bytea", "a"), ("text[]", "{a}")],
)  # fmt: skip
def test_a_column_that_is_not_text_is_refused_by_name(postgres, opened, kind, value):
    postgres.run(f"CREATE TABLE thing (k int PRIMARY KEY, v {kind})")
    postgres.run("INSERT INTO thing VALUES (1, ?)", value)

    with pytest.raises(Refused, match=r"thing\.v is of the type"):
        tables_of(opened(postgres), [EncryptedColumn("thing", "v", ("k",))])


def test_domains_are_seen_through_and_citext_is_exact(postgres, opened):
    postgres.run("CREATE EXTENSION citext")
    postgres.run("CREATE DOMAIN short AS varchar(140) NOT NULL")
    postgres.run("CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 130)")
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v citext, w shorter)")
    postgres.run("INSERT INTO thing VALUES (1, 'ABC', 'x')")
    database = opened(postgres)

    columns = database.shape("thing").columns
    assert (columns["w"].width, columns["w"].text, columns["v"].text) == (140, True, True)
    assert swap(database, Change((1,), (0,), (b"abc",), (b"new",))) == [(1,)]
    assert swap(database, Change((1,), (0,), (b"ABC",), (b"new",))) == []


def test_a_collation_for_which_different_texts_are_equal_does_not_blur_them(postgres, opened):
    try:
        postgres.run("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false)")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("only servers built with ICU have such collations")
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text COLLATE blind)")
    postgres.run("INSERT INTO thing VALUES (1, 'Ä')")

    assert swap(opened(postgres), Change((1,), (0,), (b"a",), (b"new",))) == [(1,)]
    assert postgres.run("SELECT v FROM thing") == [("Ä",)]


def test_the_table_is_the_one_that_the_search_path_finds(postgres, opened):
    postgres.run("CREATE SCHEMA app")
    for schema in ("app", "public"):
        postgres.run(f"CREATE TABLE {schema}.thing (k int PRIMARY KEY, v text)")
    postgres.run("INSERT INTO app.thing VALUES (1, 'old')")
    postgres.run(f"ALTER DATABASE {postgres.connection.info.dbname} SET search_path = app, public")

    assert swap(opened(postgres), Change((1,), (0,), (b"old",), (b"new",))) == []
    assert postgres.run("SELECT v FROM app.thing") == [("new",)]


def test_partitions_are_written_through_their_table(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text) PARTITION BY RANGE (k)")
    postgres.run("CREATE TABLE low PARTITION OF thing FOR VALUES FROM (0) TO (10)")
    postgres.run("CREATE TABLE high PARTITION OF thing FOR VALUES FROM (10) TO (20)")
    postgres.run("INSERT INTO thing SELECT n, 'old' FROM generate_series(0, 19) n")
    database = opened(postgres)

    page = database.page(THING, None, 99)
    assert [row.key[0] for row in page] == list(range(20))
    assert swap(database, *(Change(row.key, (0,), (b"old",), (b"new",)) for row in page)) == []
    assert database.tables() == ["thing"]


def test_triggers_that_an_update_fires_are_named(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    postgres.run("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    postgres.run("CREATE TRIGGER history BEFORE UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION f()")
    postgres.run("CREATE TRIGGER birth BEFORE INSERT ON thing FOR EACH ROW EXECUTE FUNCTION f()")

    assert opened(postgres).shape("thing").triggers == ("history",)


def test_indexes_over_expressions_and_conditions_count(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text, w text, x text)")
    postgres.run("CREATE UNIQUE INDEX ON thing (lower(v)) WHERE w IS NOT NULL")

    shape = opened(postgres).shape("thing")
    assert shape.unique == {"v", "w"}
    assert shape.indexed == {"k", "v", "w"}


def test_rows_that_row_level_security_hides_stop_the_work(postgres, opened):
    postgres.run("CREATE ROLE clerk LOGIN")
    try:
        postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
        postgres.run("GRANT ALL ON thing TO clerk")
        postgres.run("ALTER TABLE thing ENABLE ROW LEVEL SECURITY")
        postgres.run("CREATE POLICY own ON thing USING (k > 5)")
        clerk = type(postgres)("postgresql", postgres.url.replace("postgres@", "clerk@"), postgres._opened)

        with pytest.raises(Refused, match="row-level security"):
            opened(clerk).page(THING, None, 9)
        clerk.close()
    finally:
        postgres.run("DROP OWNED BY clerk")
        postgres.run("DROP ROLE clerk")


def test_a_value_that_cannot_be_text_is_named_by_its_key(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    postgres.run("INSERT INTO thing VALUES (1, 'old'), (2, 'old')")

    for value in (b"a\0b", b"\xff"):
        with pytest.raises(StepFailed, match="thing, primary key 2"):
            swap(opened(postgres), Change((1,), (0,), (b"old",), (b"new",)), Change((2,), (0,), (b"old",), (value,)))

    assert postgres.run("SELECT DISTINCT v FROM thing") == [("old",)]


def test_a_constraint_that_says_no_is_named_without_the_value(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text CONSTRAINT short CHECK (length(v) < 5))")
    postgres.run("INSERT INTO thing VALUES (1, 'old')")

    with pytest.raises(StepFailed, match="short") as told:
        swap(opened(postgres), Change((1,), (0,), (b"old",), (b"secret words",)))

    assert "secret words" not in f"{told.value} {told.value.hint}"


def test_a_query_for_a_number_can_change_nothing(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY)")

    with pytest.raises(DeployguardError):
        opened(postgres).number("INSERT INTO thing VALUES (1) RETURNING k")

    assert postgres.run("SELECT * FROM thing") == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [(("/site", "/absent_site"), Refused), (("postgres@", "nobody@"), Refused), (("?", "?x=1"), Refused)],
)
def test_a_url_that_the_server_turns_down_is_refused(postgres, tmp_path, change, kind):
    with pytest.raises(kind, match=r"127\.0\.0\.1"):
        connect(f"{postgres.url}?".replace(*change), base=tmp_path)


def test_a_server_that_is_not_there_can_be_tried_again(tmp_path):
    with pytest.raises(ConnectionLost, match="cannot be reached") as told:
        connect("postgresql://me:geheim@127.0.0.1:1/site", base=tmp_path)

    assert "geheim" not in f"{told.value!r} {told.value.hint}"


def test_a_lost_connection_is_told_and_the_next_call_makes_a_new_one(postgres, opened):
    postgres.run("CREATE TABLE thing (k int PRIMARY KEY, v text)")
    postgres.run("INSERT INTO thing VALUES (1, 'old')")
    database = opened(postgres)
    database.claim(1)

    with pytest.raises(ConnectionLost), database.batch(1) as batch:  # noqa: PT012 - the batch is what fails
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deployguard'")
        batch.swap(database.ready(THING, together(Change((1,), (0,), (b"old",), (b"new",)))))

    assert postgres.run("SELECT v FROM thing") == [("old",)]
    assert swap(database, Change((1,), (0,), (b"old",), (b"new",))) == []


def test_a_user_who_may_not_see_the_server_still_gets_an_identity(postgres, opened):
    postgres.run("CREATE ROLE visitor LOGIN")
    postgres.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    try:
        visitor = type(postgres)("postgresql", postgres.url.replace("postgres@", "visitor@"), postgres._opened)
        assert opened(visitor).identity().server_id.startswith("unknown/")
        visitor.close()
    finally:
        postgres.run("DROP ROLE visitor")


def test_deployguard_is_seen_by_its_name(postgres, opened):
    opened(postgres)

    with psycopg.connect(postgres.url) as other:
        names = other.execute("SELECT application_name FROM pg_stat_activity").fetchall()
    assert ("deployguard",) in names
