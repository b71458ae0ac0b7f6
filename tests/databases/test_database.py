"""What every database promises to the row engine, on each product."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from changing import Change, together

from deployguard.databases.base import Checkpoint, Condition, Kept, RowTable, Sieve
from deployguard.errors import ConnectionLost, DeployguardError, LeaseLost, Refused

PERSON = RowTable("person", ("id",), ("email", "phone"))


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT, phone VARCHAR(200) NOT NULL)")
    store.run("CREATE INDEX person_phone ON person (phone)")
    store.run_many(
        "INSERT INTO person VALUES (?, ?, ?)", [(n, f"user{n}@example.org", f"+49 {n}") for n in range(1, 8)]
    )
    return store


@pytest.fixture
def database(people, opened):
    return opened(people)


def write(database, *changes, table=PERSON, fence=1):
    database.claim(fence)
    with database.batch(fence) as batch:
        return batch.swap(database.ready(table, together(*changes)))


def emails(store):
    return [row[0] for row in store.run("SELECT email FROM person ORDER BY id")]


def email(key, old, new):
    return Change((key,), (0,), (old,), (new,))


def test_it_says_which_database_it_is_without_a_password(database, people):
    identity = database.identity()

    assert identity.engine == people.product
    assert identity.version[0].isdigit()
    assert all((identity.host, identity.database, identity.server_id))
    assert database.size() > 0


def test_two_connections_to_one_database_have_one_identity(database, people, opened):
    assert opened(people).identity() == database.identity()


def test_one_number_is_given_and_anything_else_refused(database):
    assert database.number("SELECT count(*) FROM person") == 7.0
    assert database.number("SELECT 1.5") == 1.5

    for query in ("SELECT email FROM person", "SELECT 1, 2", "SELECT 1 WHERE 1 = 0", "SELECT NULL"):
        with pytest.raises(Refused, match="one number"):
            database.number(query)


def test_a_query_for_a_number_can_change_nothing(database, people):
    for query in ("DELETE FROM person", "DELETE FROM person WHERE id = 1 RETURNING id", "DROP TABLE person"):
        with pytest.raises(DeployguardError):
            database.number(query)

    assert len(emails(people)) == 7
    assert write(database, email(1, b"user1@example.org", b"token")) == []


def test_an_error_in_a_query_is_told_without_what_the_query_holds(database):
    with pytest.raises(DeployguardError) as told:
        database.number("SELECT 'user1@example.org' FROM absent")

    assert "user1@example.org" not in f"{told.value} {told.value.hint}"
    assert database.number("SELECT 1") == 1.0


def test_a_table_is_shown_as_it_is_declared(database):
    shape = database.shape("person")

    assert list(shape.columns) == ["id", "email", "phone"]
    assert shape.key == ("id",)
    assert shape.columns["phone"].width == 200
    assert not shape.columns["phone"].nullable
    assert shape.columns["email"].nullable
    assert shape.columns["email"].text
    assert "phone" in shape.indexed
    assert "phone" not in shape.unique
    assert not shape.is_view


def test_a_table_that_is_not_there_is_refused_by_name(database):
    with pytest.raises(Refused, match="nobody"):
        database.shape("nobody")


def test_the_tables_are_the_applications_own(database, people):
    people.run("CREATE TABLE another (id INTEGER PRIMARY KEY)")
    people.run("CREATE VIEW persons AS SELECT * FROM person")
    database.claim(1)

    assert database.tables() == ["another", "person"]


def test_what_makes_a_column_hard_to_rewrite_is_shown(store, opened):
    store.run("CREATE TABLE team (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)")
    store.run(
        "CREATE TABLE member (id INTEGER PRIMARY KEY, team VARCHAR(50) NOT NULL, email VARCHAR(50),"
        " short VARCHAR(50) GENERATED ALWAYS AS (lower(email)) STORED, FOREIGN KEY (team) REFERENCES team (name))"
    )
    store.run("CREATE VIEW members AS SELECT id, email FROM member")
    database = opened(store)

    assert database.shape("team").unique == {"name"}
    assert database.shape("team").referenced == {"name"}
    assert database.shape("member").referenced == {"team"}
    assert database.shape("member").columns["short"].generated
    assert database.shape("members").is_view


def test_pages_follow_the_key_and_never_repeat(database):
    first = database.page(PERSON, None, 4)
    second = database.page(PERSON, first[-1].key, 4)

    assert [row.key for row in (*first, *second)] == [(n,) for n in range(1, 8)]
    assert first[0].values == (b"user1@example.org", b"+49 1")
    assert not database.page(PERSON, second[-1].key, 4)


def test_a_table_ends_where_it_is_to_end(database):
    some = replace(PERSON, until=(5,))

    assert [row.key for row in database.page(some, (2,), 9)] == [(3,), (4,), (5,)]
    assert not database.page(some, (5,), 9)


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        ([("<", 3)], [1, 2]), ([("<=", 3)], [1, 2, 3]), ([(">", 6)], [7]), ([(">=", 6)], [6, 7]), ([("=", 4)], [4]),
        ([("!=", 4), (">", 2), ("<=", 6)], [3, 5, 6]), ([("<", 3), (">", 5)], []),
    ],
)  # fmt: skip
def test_conditions_on_the_key_choose_rows(database, conditions, wanted):
    where = tuple(Condition("id", operator, value) for operator, value in conditions)

    assert [row.key[0] for row in database.page(replace(PERSON, where=where), None, 9)] == wanted
    assert database.count("person", where) == len(wanted)


WORDS = ["", "abc", "ABC", "abc\n", " abc", "gAfg", "gafg", "gAfg and more", "ä" * 8, "x" * 16, "x" * 17, "a\\b'c"]


@pytest.mark.parametrize(
    ("sieve", "wanted"),
    [
        (Sieve(unlike=((1, 1, 0, "^[a-c]+$(?!\n)"),)), WORDS[2:]),
        (Sieve(unlike=((1, 1, 0, "^[a-c]+$(?!\n)"),), empty=frozenset({0})), [WORDS[0], *WORDS[2:]]),
        (
            Sieve(unlike=((3, 3, 0, "c$(?!\n)"), (3, 3, 1, "[a-y]$(?!\n)"))),
            ["ABC", "abc\n", "ä" * 8, "x" * 17, WORDS[-1]],
        ),
        (Sieve(unlike=((4, 1, 0, "c$(?!\n)"),)), [*WORDS[1:4], *WORDS[5:-1]]),
        (Sieve(begins="gA", long=6), ["gAfg and more"]),
        (Sieve(longer=(16, None)), ["x" * 17]),
        (Sieve(longer=(None, 0)), []),
        (Sieve(longer=(15, None), begins="gA", long=1), ["gAfg", "gAfg and more", "ä" * 8, "x" * 16, "x" * 17]),
        (Sieve(), []),
    ],
)
def test_a_sieve_leaves_out_what_is_not_worth_reading(store, opened, sieve, wanted):
    store.run("CREATE TABLE thing (k INTEGER PRIMARY KEY, v VARCHAR(300), w TEXT)")
    store.run_many("INSERT INTO thing VALUES (?, ?, NULL)", [*enumerate(WORDS), (99, None)])
    table = RowTable("thing", ("k",), ("v", "w"), sieve=sieve)

    found = opened(store).page(table, None, 99)

    values = [row.values[0] for row in found]
    assert [v if v is None else v.decode() for v in values] == wanted


def test_rows_that_a_batch_has_written_last_are_left_out_where_the_product_knows_them(database, people):
    database.claim(1)
    with database.batch(1) as batch:
        batch.swap(
            database.ready(PERSON, together(*(email(n, f"user{n}@example.org".encode(), b"token") for n in (1, 2, 3))))
        )
        mark = batch.save("op", "person", Checkpoint())
    people.run("UPDATE person SET phone = '+49 0' WHERE id = 2")
    sieve = Sieve(unlike=((1, 1, 0, "^x"),), unless=() if mark is None else (mark,))

    found = [row.key[0] for row in database.page(replace(PERSON, sieve=sieve), None, 9)]

    assert found == ([2, 4, 5, 6, 7] if people.product == "postgresql" else [1, 2, 3, 4, 5, 6, 7])


def test_a_sieve_is_looked_through_together_with_a_range_and_conditions(database):
    table = replace(
        PERSON, columns=("email",), sieve=Sieve(unlike=((1, 1, 0, "^user[1-4]@"),)), where=(Condition("id", "!=", 6),)
    )

    assert [row.key for row in database.page(table, (1,), 9)] == [(5,), (7,)]
    assert [row.key for row in database.page(replace(table, until=(6,)), (1,), 9)] == [(5,)]


def test_a_table_is_cut_into_ranges_of_as_many_rows(database):
    assert database.cut(PERSON, 3) == [(3,), (6,)]
    assert database.cut(PERSON, 7) == [(7,)]
    assert database.cut(PERSON, 8) == []
    assert database.cut(replace(PERSON, where=(Condition("id", ">", 4),)), 2) == [(6,)]


def test_ranges_of_a_key_of_several_columns_hold_each_row_once(store, opened):
    store.run("CREATE TABLE thing (v TEXT, b VARCHAR(20) NOT NULL, a INTEGER NOT NULL, PRIMARY KEY (a, b))")
    wanted = [(a, b) for a in (-1, 2, 3) for b in ("B", "a", "c", "é")]
    store.run_many("INSERT INTO thing (a, b, v) VALUES (?, ?, ?)", [(*key, "old") for key in reversed(wanted)])
    database, table = opened(store), RowTable("thing", ("a", "b"), ("v",))

    ends = [None, *database.cut(table, 5), None]
    seen = [
        [row.key for row in database.page(replace(table, until=until), after, 99)] for after, until in pairwise(ends)
    ]

    assert [len(some) for some in seen] == [5, 5, 2]
    assert sorted(key for some in seen for key in some) == sorted(wanted)


def test_a_page_of_large_values_ends_early_and_the_next_goes_on(store, opened, monkeypatch):
    kind = "LONGTEXT" if store.product == "mariadb" else "TEXT"
    store.run(f"CREATE TABLE thing (k INTEGER PRIMARY KEY, v {kind})")
    store.run_many("INSERT INTO thing VALUES (?, ?)", [(n, "x" * 300_000) for n in range(200)])
    database, table, sizes, after = opened(store), RowTable("thing", ("k",), ("v",)), [], None

    while page := database.page(table, after, 1000):
        sizes.append(len(page))
        after = page[-1].key

    assert sum(sizes) == 200
    assert max(sizes) < 100


def test_a_page_leaves_no_transaction_open(database, people):
    database.page(PERSON, None, 4)

    people.run("ALTER TABLE person ADD COLUMN age INTEGER")


def test_some_rows_are_given_as_they_are_now_and_those_gone_left_out(database, people):
    people.run("DELETE FROM person WHERE id = 2")
    people.run("UPDATE person SET email = NULL WHERE id = 3")

    assert {row.key: row.values for row in database.rows(PERSON, [(2,), (3,)])} == {(3,): (None, b"+49 3")}


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("INTEGER", [-(2**31), -7, 0, 5, 900]),
        ("BIGINT", [-(2**63), 0, 2**63 - 1]),
        ("VARCHAR(80)", ["", "'", "\\", "B", "ä", "a%s?", "c c", "😀"]),
        ("CHAR(36)", ["0c6a8a3e-7ad2-4d3f-9d4e-2f8d1f6b1c11", "f6b1c110-7ad2-4d3f-9d4e-2f8d1f6b1c11"]),
    ],
)
def test_keys_of_any_type_are_paged_and_written_by(store, opened, kind, keys):
    store.run(f"CREATE TABLE thing (k {kind} NOT NULL PRIMARY KEY, v TEXT)")
    store.run_many("INSERT INTO thing VALUES (?, ?)", [(key, "old") for key in keys])
    database, table, seen = opened(store), RowTable("thing", ("k",), ("v",)), []

    after = None
    while page := database.page(table, after, 2):
        assert write(database, *(Change(row.key, (0,), (b"old",), b"new".split()) for row in page), table=table) == []
        seen += page
        after = page[-1].key

    assert {row.key[0] for row in seen} == set(keys)
    assert len(seen) == len(keys)
    assert [row[0] for row in store.run("SELECT v FROM thing")] == ["new"] * len(keys)


def test_a_key_of_several_columns_is_paged_in_its_own_order(store, opened):
    store.run("CREATE TABLE thing (v TEXT, b VARCHAR(20) NOT NULL, a INTEGER NOT NULL, PRIMARY KEY (a, b))")
    wanted = [(a, b) for a in (-1, 2, 3) for b in ("x", "y", "z")]
    store.run_many("INSERT INTO thing (a, b, v) VALUES (?, ?, ?)", [(*key, "old") for key in reversed(wanted)])
    database = opened(store)
    table, seen, after = RowTable("thing", database.shape("thing").key, ("v",)), [], None

    while page := database.page(table, after, 2):
        seen += [row.key for row in page]
        after = page[-1].key

    assert seen == wanted
    assert write(database, Change((2, "y"), (0,), (b"old",), (b"new",)), table=table) == []
    assert store.run("SELECT a, b FROM thing WHERE v = 'new'") == [(2, "y")]
    assert [row.key for row in database.rows(table, [(3, "x"), (9, "x")])] == [(3, "x")]


@pytest.mark.parametrize("name", ["a b", "a.b", 'a"b', "a`b", "a'b", "a%s", "a?", "select", "-- x", "Größe", "a\nb"])
def test_identifiers_of_any_spelling(store, opened, name):
    table, key, value, quote = f"t{name}", f"k{name}", f"v{name}", store.quote
    store.run(f"CREATE TABLE {quote(table)} ({quote(key)} INTEGER PRIMARY KEY, {quote(value)} TEXT)")
    database = opened(store)
    rows = RowTable(table, database.shape(table).key, (value,))

    assert rows.key == (key,)
    assert database.count(table) == 0
    assert not database.page(rows, None, 5)
    assert write(database, Change((1,), (0,), (b"a",), (b"b",)), table=rows) == [(1,)]


@pytest.mark.parametrize(
    "value",
    ["", " ", "x ", " x", "\t", "ä", "a\u0308", "😀", "'\"\\%s?", "line\nline\r\n", "NULL", "\\N", "x" * 60_000],
)
def test_text_is_read_and_written_byte_by_byte(database, people, value):
    people.run("UPDATE person SET email = ? WHERE id = 1", value)
    read = database.page(PERSON, None, 1)[0].values[0]

    assert read == value.encode()
    assert write(database, email(1, read, b"other")) == []
    assert write(database, email(1, b"other", read)) == []
    assert emails(people)[0] == value


@pytest.mark.parametrize(
    ("there", "read"),
    [("ABC", b"abc"), ("abc ", b"abc"), ("abc", b"abc "), ("a\u0308", "ä".encode()), ("a", "ä".encode())],
)
def test_a_value_that_only_looks_the_same_is_not_overwritten(database, people, there, read):
    people.run("UPDATE person SET email = ? WHERE id = 1", there)

    assert write(database, email(1, read, b"token")) == [(1,)]
    assert emails(people)[0] == there


def test_a_row_that_changed_or_went_is_told_and_the_others_written(database, people):
    people.run("UPDATE person SET email = 'changed' WHERE id = 2")
    people.run("UPDATE person SET email = NULL WHERE id = 3")
    people.run("DELETE FROM person WHERE id = 4")

    lost = write(database, *(email(n, f"user{n}@example.org".encode(), b"token") for n in range(1, 6)))

    assert sorted(lost) == [(2,), (3,), (4,)]
    assert emails(people) == ["token", "changed", None, "token", "user6@example.org", "user7@example.org"]


def test_a_row_is_written_whole_or_not_at_all(database, people):
    people.run("UPDATE person SET phone = 'changed' WHERE id = 1")
    both = [Change((n,), (0, 1), (f"user{n}@example.org".encode(), f"+49 {n}".encode()), (b"a", b"b")) for n in (1, 2)]

    assert write(database, *both, Change((3,), (1,), (b"+49 3",), (b"c",))) == [(1,)]
    assert people.run("SELECT email, phone FROM person WHERE id < 4 ORDER BY id") == [
        ("user1@example.org", "changed"), ("a", "b"), ("user3@example.org", "c"),
    ]  # fmt: skip


TEXTS = [
    "", " ", "a", "a ", " a", "'", "\\", "O'Brien", "1:", ":", "3:abc", "ä", "日本 ", "x" * 40, "y" * 150, "-- %s %b",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(7))
def test_many_values_of_any_length_and_spelling_are_written_at_once_and_stale_ones_told(people, opened, seed):
    """Sizes that are alike, nearly alike and far apart, spaces at the end, quotes: each way in which a product packs."""
    some = random.Random(seed)
    texts = [TEXTS, TEXTS[:8], ["gAAA", "gAAAA"], ["gAAA"], [*"abc "], ["abcd", "abc ", "abcde"], TEXTS][seed]
    rows = {n: (some.choice(TEXTS), some.choice(TEXTS)) for n in range(100, 160)}
    people.run_many("INSERT INTO person VALUES (?, ?, ?)", [(n, *row) for n, row in rows.items()])
    wanted, changes, stale = dict(rows), [], []
    for n, row in rows.items():
        columns = some.choice([(0,), (1,), (0, 1)])
        new = tuple(some.choice(texts) for _ in columns)
        old = tuple(row[c] for c in columns)
        if some.random() < 0.2:
            # one byte more, and one that stands between values that travel together
            old = (*old[:-1], f"{old[-1]}:")
            stale.append((n,))
        else:
            wanted[n] = tuple(new[columns.index(c)] if c in columns else row[c] for c in (0, 1))
        changes.append(Change((n,), columns, *(tuple(v.encode() for v in part) for part in (old, new))))

    lost = write(opened(people), *changes)

    there = {n: row for n, *row in people.run("SELECT id, email, phone FROM person WHERE id >= 100")}
    assert {n: tuple(row) for n, row in there.items()} == wanted
    # one that was to become what it is already cannot be told from one that was written
    assert {*lost} <= {*stale}
    assert all(changes[n - 100].new == tuple(rows[n][c].encode() for c in changes[n - 100].columns)
               for (n,) in {*stale} - {*lost})  # fmt: skip


def test_other_columns_and_their_defaults_stay_untouched(database, people):
    people.run("ALTER TABLE person ADD COLUMN note VARCHAR(20) DEFAULT 'x'")
    people.run("UPDATE person SET note = 'mine'")

    write(database, email(1, b"user1@example.org", b"token"))

    assert people.run("SELECT DISTINCT note FROM person") == [("mine",)]


def test_a_value_too_wide_is_refused_and_never_cut(database, people):
    if people.product == "sqlite":
        pytest.skip("SQLite enforces no width; the row engine does")

    with pytest.raises(DeployguardError) as told:
        write(database, Change((1,), (1,), (b"+49 1",), (b"z" * 201,)))

    assert "zzz" not in f"{told.value} {told.value.hint}"
    assert people.run("SELECT phone FROM person WHERE id = 1") == [("+49 1",)]


def test_a_batch_is_kept_whole_with_its_checkpoint(database, opened, people):
    database.claim(1)
    with database.batch(1) as batch:
        batch.swap(database.ready(PERSON, together(email(1, b"user1@example.org", b"token"))))
        batch.save("op", "person", Checkpoint(3, number=2, after=(1,), changed=3, total=4))

    other = opened(people)
    assert emails(people)[0] == "token"
    assert other.checkpoint("op", "person", 3) == Checkpoint(3, number=2, after=(1,), changed=3, total=4)
    assert other.checkpoint("op", "person", 2) is None
    assert other.checkpoints("op", "other") == other.checkpoints("other", "person") == []


def test_a_batch_that_fails_leaves_nothing(database, people):
    database.claim(1)

    with pytest.raises(ZeroDivisionError), database.batch(1) as batch:  # noqa: PT012 - the batch is what fails
        batch.swap(database.ready(PERSON, together(email(1, b"user1@example.org", b"token"))))
        batch.save("op", "person", Checkpoint())
        batch.keep("op", "person", [Kept("email", (1,), b"d")])
        raise ZeroDivisionError

    assert emails(people)[0] == "user1@example.org"
    assert database.checkpoints("op", "person") == []
    assert not database.keeps("op", "person")
    assert write(database, email(1, b"user1@example.org", b"token")) == []


def test_a_checkpoint_moves(database):
    database.claim(1)
    strange = (-(2**63), "x'\\", b"\x00\xff")
    for checkpoint in (
        Checkpoint(0, begin=strange, until=strange, after=strange, changed=1),
        Checkpoint(0, number=3, total=9, done=True),
    ):
        with database.batch(1) as batch:
            batch.save("op", "person", checkpoint)

        assert database.checkpoints("op", "person") == [checkpoint]


def test_each_range_has_a_checkpoint_of_its_own(database):
    database.claim(1)
    ranges = [Checkpoint(n, begin=(n * 10,), until=(n * 10 + 10,)) for n in range(12)]
    with database.batch(1) as batch:
        for each in reversed(ranges):
            batch.save("op", "person", each)
    moved = replace(ranges[7], after=(75,), changed=5)
    with database.batch(1) as batch:
        batch.save("op", "person", moved)

    assert database.checkpoints("op", "person") == [*ranges[:7], moved, *ranges[8:]]


def test_kept_values_are_remembered_per_operation_and_once(database):
    database.claim(1)
    for _ in range(2):
        with database.batch(1) as batch:
            batch.keep(
                "op", "person",
                [Kept("email", (1,), b"\x00\xff"), Kept("phone", (1,), b"two"), Kept("email", (3,), b"three")],
            )  # fmt: skip

    keys = [(1,), (2,), *((n,) for n in range(1000, 2000))]
    assert database.kept("op", PERSON, keys) == {("email", (1,)): b"\x00\xff", ("phone", (1,)): b"two"}
    assert database.kept("other", PERSON, keys) == {}
    assert (database.keeps("op", "person"), database.keeps("other", "person")) == (True, False)


def test_a_higher_fencing_token_shuts_out_the_lower_ones(database, opened, people):
    late = opened(people)
    database.claim(5)
    late.claim(7)

    with pytest.raises(LeaseLost), database.batch(5) as batch:
        batch.swap(database.ready(PERSON, together(email(1, b"user1@example.org", b"stale"))))
    with pytest.raises(LeaseLost):
        database.claim(6)

    assert database.fence() == 7
    assert emails(people)[0] == "user1@example.org"


def test_a_claim_waits_for_the_batch_of_the_holder(database, opened, people):
    from threading import Thread

    database.claim(1)
    late = opened(people)
    claim = Thread(target=late.claim, args=(2,))
    with database.batch(1) as batch:
        claim.start()
        claim.join(0.5)
        assert claim.is_alive()
        batch.swap(database.ready(PERSON, together(email(1, b"user1@example.org", b"token"))))
    claim.join(30)

    assert emails(people)[0] == "token"
    with pytest.raises(LeaseLost), database.batch(1):
        pass


def test_asking_for_state_creates_nothing(database, people):
    assert (database.fence(), database.checkpoints("op", "person"), database.keeps("op", "person")) == (0, [], False)
    assert database.checkpoint("op", "person", 0) is None
    with pytest.raises(LeaseLost), database.batch(1):
        pass

    with pytest.raises(Exception, match="deployguard_fence"):
        people.run("SELECT * FROM deployguard_fence")


def test_operations_are_those_with_a_checkpoint(database, people):
    assert database.operations() == set()
    database.claim(1)
    for name in ("run-1/encrypt", "run-2/encrypt"):
        with database.batch(1) as batch:
            batch.save(name, "person", Checkpoint())

    assert database.operations() == {"run-1/encrypt", "run-2/encrypt"}


def test_forgetting_removes_every_trace(database, people):
    write(database, email(1, b"user1@example.org", b"token"))
    database.forget()
    database.forget()

    assert database.fence() == 0
    with pytest.raises(Exception, match="deployguard_fence"):
        people.run("SELECT * FROM deployguard_fence")


def test_a_reader_reads_all_and_writes_nothing(people, database, opened):
    write(database, email(1, b"user1@example.org", b"token"), fence=3)
    reader = opened(people, read_only=True)

    assert reader.count("person") == 7
    assert reader.fence() == 3
    assert len(reader.page(PERSON, None, 9)) == 7
    with pytest.raises(DeployguardError):
        write(reader, email(2, b"user2@example.org", b"token"), fence=3)
    assert emails(people)[1] == "user2@example.org"


@pytest.fixture
def impatient(people, opened, monkeypatch):
    if people.product == "sqlite":
        pytest.skip("SQLite locks the whole file: see its own tests")
    module = {"postgresql": "postgres", "mariadb": "mysql"}[people.product]
    monkeypatch.setattr(f"deployguard.databases.{module}.LOCK_WAIT", 1.0)
    return opened(people)


def test_a_row_that_another_user_holds_is_not_waited_for_without_end(impatient, people):
    other = people.another()
    other.run("BEGIN")
    other.run("UPDATE person SET email = 'held' WHERE id = 1")

    with pytest.raises(ConnectionLost, match="lock"):
        write(impatient, email(1, b"user1@example.org", b"token"))

    other.run("COMMIT")
    other.close()
    assert write(impatient, email(2, b"user2@example.org", b"token")) == []
    assert emails(people)[:2] == ["held", "token"]


def test_what_somebody_else_writes_is_noticed_and_reading_is_not(database, people):
    user = people.another()
    for statement in (
        "UPDATE person SET email = 'a' WHERE id = 1", "DELETE FROM person WHERE id = 2",
        "INSERT INTO person VALUES (9, 'b', 'c')",
    ):  # fmt: skip
        before = database.writes()
        user.run(statement)
        assert database.writes() != before

    def read_in_peace():
        before = database.writes()
        database.count("person")
        user.run("SELECT email FROM person")
        return database.writes() == before

    # a server may do some work of its own meanwhile, but not always
    assert any(read_in_peace() for _ in range(5))
    user.close()
