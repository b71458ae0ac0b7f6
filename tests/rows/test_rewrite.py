"""Every row, exactly once, and back: encrypt, decrypt and rotate on each database."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployguard.databases.base import Condition
from deployguard.errors import LeaseLost, Refused, StepFailed
from deployguard.keys.keyring import Keyring, has_token_form
from deployguard.rows import passes, rewrite
from deployguard.rows.only import Only, only
from deployguard.rows.progress import BatchSize
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import verify

EMAIL = EncryptedColumn("person", "email", ("id",))
PHONE = EncryptedColumn("person", "phone", ("id",), empty_becomes="token")
BOTH = (EMAIL, PHONE)


def silent(progress):
    """A pulse that nobody watches."""


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT, phone VARCHAR(1000))")
    return store


@pytest.fixture
def database(people, opened):
    return opened(people)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(rewrite, "BatchSize", lambda: BatchSize(10, most=10))


@pytest.fixture
def older_key(new_key):
    return new_key()


@pytest.fixture
def both_keys(new_key, older_key):
    return Keyring(new_key(), [older_key])


def fill(store, *values):
    store.run("DELETE FROM person")
    rows = [(n, v if v is None else v.decode(), f"+{n}") for n, v in enumerate(values, 1)]
    store.run_many("INSERT INTO person VALUES (?, ?, ?)", rows)


def emails(store):
    return [v if v is None else v.encode() for (v,) in store.run("SELECT email FROM person ORDER BY id")]


def opened_by(keyring, store):
    return [keyring.open(value).plaintext for value in emails(store)]


def encrypt(database, keyring, columns=(EMAIL,), *, operation="enc", fence=1, pulse=silent, since=None, some=None):
    since = time.time() if since is None else since
    return rewrite.encrypt(
        database, columns, keyring, operation=operation, fence=fence, pulse=pulse, since=since, some=some
    )  # fmt: skip


def decrypt(
    database, keyring, columns=(EMAIL,), *, operation="dec", fence=1, pulse=silent, undo_of=None, since=None, some=None
):
    since = time.time() if since is None else since
    return rewrite.decrypt(
        database, columns, keyring, operation=operation, fence=fence, pulse=pulse, undo_of=undo_of, since=since, some=some
    )  # fmt: skip


def rotate(database, keyring, columns=(EMAIL,), *, fence=1):
    return rewrite.rotate(database, columns, keyring, operation="rot", fence=fence, pulse=silent)


def old_token(keyring, plaintext, seconds=86_400):
    return keyring._fernets[0].encrypt_at_time(plaintext, int(time.time()) - seconds)


def test_every_plaintext_becomes_a_token_of_itself(database, people, keyring):
    plaintexts = [b"a@example.org", "ü😀".encode(), b" ", b"x" * 5000, b"gAAAAABmTyped", b"gAAAA" * 40]
    fill(people, *plaintexts)

    done = encrypt(database, keyring)

    assert opened_by(keyring, people) == plaintexts
    assert (done[0].table, done[0].rows, done[0].passes) == ("person", 6, 2)
    assert verify(database, [EMAIL], keyring, pulse=silent).ok


def test_null_stays_null_and_empty_follows_the_application(database, people, keyring):
    fill(people, None, b"")
    people.run("UPDATE person SET phone = ''")

    encrypt(database, keyring, BOTH)

    assert emails(people) == [None, b""]
    assert [keyring.open(p.encode()).plaintext for (p,) in people.run("SELECT phone FROM person")] == [b"", b""]


def test_tokens_that_were_there_stay_as_they_are(database, people, both_keys, older_key):
    tokens = [both_keys.seal(b"primary"), Keyring(older_key).seal(b"older")]
    fill(people, *tokens, b"plain")

    encrypt(database, both_keys)

    assert emails(people)[:2] == tokens


def test_encrypting_again_changes_nothing(database, people, keyring):
    fill(people, b"a", b"b")
    encrypt(database, keyring)
    after = emails(people)

    assert encrypt(database, keyring)[0].rows == 2
    assert encrypt(database, keyring, operation="another")[0].rows == 0
    assert emails(people) == after


def test_a_later_plaintext_is_found_when_asked_again(database, people, keyring):
    fill(people, b"a", b"b")
    encrypt(database, keyring)
    people.run("UPDATE person SET email = 'late' WHERE id = 1")

    encrypt(database, keyring)

    assert opened_by(keyring, people) == [b"late", b"b"]


@pytest.mark.parametrize("damage", ["lost key", "cut", "flipped"])
def test_a_token_that_no_key_opens_is_refused_before_the_first_write(database, people, keyring, new_key, damage):
    token = Keyring(new_key()).seal(b"x") if damage == "lost key" else keyring.seal(b"x" * 40)
    if damage == "cut":
        token = token[:-64]
        token = token[: len(token) // 4 * 4]
    if damage == "flipped":
        token = token[:60] + (b"A" if token[60:61] != b"A" else b"B") + token[61:]
    if not has_token_form(token):
        pytest.skip("cut so that it is no token's form any more")
    fill(people, b"plain", token)

    with pytest.raises(Refused, match=r"person\.email.*primary key 2"):
        encrypt(database, keyring)

    assert emails(people) == [b"plain", token]
    assert database.fence() == 0


def test_a_token_too_wide_for_its_column_is_refused_before_the_first_write(database, people, keyring):
    fill(people, b"short", b"x" * 300)
    narrow = EncryptedColumn("person", "email", ("id",), width=140)

    with pytest.raises(Refused, match="Widen the column"):
        encrypt(database, keyring, (narrow,))

    assert emails(people) == [b"short", b"x" * 300]


def test_a_wide_value_that_comes_during_the_run_stops_it_and_keeps_its_row(database, people, keyring, small_batches):
    fill(people, *(b"a" for _ in range(30)))
    narrow = EncryptedColumn("person", "email", ("id",), width=140)

    def pulse(progress):
        if progress.label.startswith("encrypting"):
            people.run("UPDATE person SET email = ? WHERE id = 25", "x" * 139)

    with pytest.raises(StepFailed, match=r"person\.email.*25.*the column holds 140") as told:
        encrypt(database, keyring, (narrow,), pulse=pulse)

    assert "xxx" not in str(told.value)
    assert emails(people)[24] == b"x" * 139


def test_a_table_without_a_primary_key_is_refused(store, opened, keyring):
    store.run("CREATE TABLE person (id INTEGER, email TEXT)")

    with pytest.raises(Refused, match="person has no primary key"):
        encrypt(opened(store), keyring)


@pytest.mark.parametrize(
    ("ddl", "column", "why"),
    [
        ("id INTEGER PRIMARY KEY, email TEXT", "mail", "mail is not in the database"),
        ("id VARCHAR(50) NOT NULL PRIMARY KEY, email TEXT", "id", "part of the primary key"),
        ("id INTEGER PRIMARY KEY, e TEXT, email VARCHAR(99) GENERATED ALWAYS AS ('a') STORED", "email", "generated"),
    ],
)
def test_a_column_that_cannot_hold_tokens_is_refused(store, opened, keyring, ddl, column, why):
    store.run(f"CREATE TABLE person ({ddl})")

    with pytest.raises(Refused, match=why):
        encrypt(opened(store), keyring, (EncryptedColumn("person", column, ("id",)),))


def test_a_view_is_refused(people, opened, keyring):
    people.run("CREATE VIEW persons AS SELECT * FROM person")

    with pytest.raises(Refused, match="persons is a view"):
        encrypt(opened(people), keyring, (EncryptedColumn("persons", "email", ("id",)),))


def test_decrypting_gives_back_the_bytes(database, people, keyring):
    plaintexts = [b"a", b"a ", b" a", b"", None, "ä😀".encode(), b"gAAAAABmTyped", b"'\\%s", b"NULL"]
    fill(people, *plaintexts)
    encrypt(database, keyring)

    decrypt(database, keyring)

    assert emails(people) == plaintexts


def test_the_undo_leaves_the_tokens_that_were_there_before(database, people, keyring):
    token = old_token(keyring, b"before")
    fill(people, b"plain", token, b"more")
    encrypt(database, keyring)

    decrypt(database, keyring, undo_of="enc")

    assert emails(people) == [b"plain", token, b"more"]


def test_the_undo_opens_a_token_that_replaced_one_from_before(database, people, keyring):
    fill(people, old_token(keyring, b"before"))
    encrypt(database, keyring)
    people.run("UPDATE person SET email = ?", keyring.seal(b"new").decode())

    decrypt(database, keyring, undo_of="enc")

    assert emails(people) == [b"new"]


class StopError(Exception):
    """What a person's request to stop is in these tests."""


def stop_at(rows):
    def pulse(progress):
        if progress.label.startswith("encrypting") and progress.done >= rows:
            raise StopError

    return pulse


def test_the_undo_of_a_stopped_run_leaves_the_tokens_it_had_not_come_to(database, people, keyring, small_batches):
    values, began = [b"plain", old_token(keyring, b"before")] * 20, time.time() - 60
    fill(people, *values)
    with pytest.raises(StopError):
        encrypt(database, keyring, pulse=stop_at(20), since=began)
    people.run("UPDATE person SET email = ? WHERE id = 39", keyring.seal(b"by new code").decode())

    decrypt(database, keyring, undo_of="enc", since=began)

    assert emails(people) == [*values[:38], b"by new code", values[39]]


def test_the_undo_of_a_run_that_wrote_nothing_leaves_the_tokens_that_were_there(database, people, keyring):
    token = old_token(keyring, b"before")
    fill(people, b"plain", token)

    decrypt(database, keyring, undo_of="enc")

    assert emails(people) == [b"plain", token]


def test_the_undo_opens_what_new_code_wrote_during_the_run(database, people, keyring):
    began = time.time() - 60
    fill(people, keyring.seal(b"written by new code"))
    encrypt(database, keyring, since=began)

    decrypt(database, keyring, undo_of="enc")

    assert emails(people) == [b"written by new code"]


def test_a_token_that_no_key_opens_survives_decrypting(database, people, keyring, new_key):
    foreign = Keyring(new_key()).seal(b"x")
    fill(people, foreign, keyring.seal(b"a"))

    decrypt(database, keyring)

    assert emails(people) == [foreign, b"a"]


def test_rotation_renews_older_tokens_and_only_those(database, people, both_keys, older_key, new_key):
    primary, foreign = both_keys.seal(b"primary"), Keyring(new_key()).seal(b"x")
    fill(people, Keyring(older_key).seal(b"older"), primary, foreign, b"plain", None, b"")

    done = rotate(database, both_keys)

    after = emails(people)
    assert both_keys.open(after[0]).key == 0
    assert both_keys.open(after[0]).plaintext == b"older"
    assert after[1:] == [primary, foreign, b"plain", None, b""]
    assert done[0].rows == 1


def test_rotation_is_refused_where_the_application_reads_one_key(database, people, both_keys, older_key):
    token = Keyring(older_key).seal(b"older")
    fill(people, token)

    with pytest.raises(Refused, match=r"one key only in person\.email"):
        rotate(database, both_keys, (EncryptedColumn("person", "email", ("id",), rotates=False),))

    assert emails(people) == [token]


def test_a_change_between_read_and_write_is_kept_and_encrypted(database, people, keyring, monkeypatch):
    fill(people, b"a", b"b")
    seal, meanwhile = Keyring.seal_many, people.another()

    def seal_while_somebody_writes(self, plaintexts):
        if b"b" in plaintexts:
            meanwhile.run("UPDATE person SET email = 'from outside' WHERE id = 2")
        return seal(self, plaintexts)

    monkeypatch.setattr(Keyring, "seal_many", seal_while_somebody_writes)
    done = encrypt(database, keyring)
    meanwhile.close()

    assert opened_by(keyring, people) == [b"a", b"from outside"]
    assert done[0].passes == 2


def test_a_row_written_behind_the_cursor_is_found_by_the_next_pass(database, people, keyring, small_batches):
    fill(people, *(b"a" for _ in range(30)))
    written = []

    def pulse(progress):
        if progress.label.startswith("encrypting") and progress.done == 20 and not written:
            written.append(people.run("UPDATE person SET email = 'behind' WHERE id = 1"))

    done = encrypt(database, keyring, pulse=pulse)

    assert opened_by(keyring, people) == [b"behind"] + [b"a"] * 29
    assert (done[0].rows, done[0].passes) == (31, 3)


def test_a_writer_faster_than_us_is_named_in_the_end(database, people, keyring, monkeypatch):
    monkeypatch.setattr(passes, "MOST_PASSES", 3)
    fill(people, b"a")

    with pytest.raises(StepFailed, match=r"still something to encrypt$") as told:
        encrypt(database, keyring, pulse=lambda _: people.run("UPDATE person SET email = 'again'"))

    assert "restart or stop it" in told.value.hint


def test_a_stale_holder_stops_and_its_batch_is_not_kept(database, people, opened, keyring, small_batches):
    fill(people, *(b"a" for _ in range(30)))
    late = opened(people)

    def pulse(progress):
        if progress.label.startswith("encrypting"):
            late.claim(2)

    with pytest.raises(LeaseLost):
        encrypt(database, keyring, fence=1, pulse=pulse)

    assert sum(map(has_token_form, emails(people))) == 10


def test_work_goes_on_after_the_last_committed_batch(database, people, opened, keyring, small_batches):
    fill(people, *(str(n).encode() for n in range(35)))

    with pytest.raises(StopError):
        encrypt(database, keyring, pulse=stop_at(20))
    before = emails(people)

    done = encrypt(opened(people), keyring, fence=2)

    assert sum(map(has_token_form, before)) == 20
    assert emails(people)[:20] == before[:20]
    assert opened_by(keyring, people) == [str(n).encode() for n in range(35)]
    assert done[0].rows == 35


@pytest.mark.parametrize("limit", [1, 10, 13, 30, 99])
def test_no_more_rows_are_changed_than_asked_for(database, people, keyring, small_batches, limit):
    fill(people, *([b"a", keyring.seal(b"token")] * 15))

    done = encrypt(database, keyring, some=Only(limit))

    assert sum(map(has_token_form, emails(people))) == 15 + min(limit, 15)
    assert (done[0].rows, done[0].limited) == (min(limit, 15), limit <= 15)

    decrypt(database, keyring, undo_of="enc")

    assert emails(people)[::2] == [b"a"] * 15


@pytest.mark.parametrize("limit", [1, 2, 5, 11])
def test_a_limit_counts_rows_whatever_columns_they_change_in(database, people, keyring, limit):
    people.run("DELETE FROM person")
    kinds = [("a", "b"), ("a", None), (None, "b"), (None, None)]
    people.run_many("INSERT INTO person VALUES (?, ?, ?)", [(n, *kinds[n % 4]) for n in range(16)])

    done = encrypt(database, keyring, (EMAIL, PHONE), some=Only(limit))

    rows = people.run("SELECT id, email, phone FROM person ORDER BY id")
    sealed = {n: [has_token_form(value.encode()) for value in values if value is not None] for n, *values in rows}
    some = [n for n in range(16) if n % 4 != 3]
    assert done[0].rows == limit
    assert all(all(sealed[n]) for n in some[:limit])
    assert not any(any(sealed[n]) for n in some[limit:])


def test_a_limit_once_reached_stays_reached_when_resumed(database, people, opened, keyring, small_batches):
    fill(people, *(b"a" for _ in range(30)))
    with pytest.raises(StopError):
        encrypt(database, keyring, some=Only(15), pulse=stop_at(10))

    done = [encrypt(opened(people), keyring, some=Only(15), fence=fence)[0] for fence in (2, 3)]

    assert sum(map(has_token_form, emails(people))) == 15
    assert [(d.rows, d.limited) for d in done] == [(15, True)] * 2


def test_only_the_rows_that_are_asked_for_are_touched(database, people, keyring):
    fill(people, *(b"a" for _ in range(10)))
    some = only(None, ["person.id > 2", "person.id <= 5"])

    encrypt(database, keyring, some=some)

    assert [n for n, v in enumerate(emails(people), 1) if has_token_form(v)] == [3, 4, 5]
    assert verify(database, [EMAIL], keyring, pulse=silent, some=some).ok
    assert verify(database, [EMAIL], keyring, pulse=silent).columns[0].plaintext == 7

    decrypt(database, keyring, undo_of="enc", some=some)

    assert emails(people) == [b"a"] * 10


def test_tables_that_no_condition_names_are_left_alone(database, people, keyring):
    people.run("CREATE TABLE other (id INTEGER PRIMARY KEY, email TEXT)")
    people.run("INSERT INTO other VALUES (1, 'b')")
    fill(people, b"a")

    encrypt(database, keyring, (EMAIL, EncryptedColumn("other", "email", ("id",))), some=only(None, ["person.id = 1"]))

    assert opened_by(keyring, people) == [b"a"]
    assert people.run("SELECT email FROM other") == [("b",)]


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("id < 3", "cannot be read"), ("person.id", "cannot be read"), ("person.id < 3 or 1=1", "cannot be read"),
        ("person.id < ", "cannot be read"), ("team.id < 3", "team has no encrypted column"),
        ("person.email = 'a'", "person.email is not in the primary key"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_meant_is_refused_before_the_first_write(database, people, keyring, where, why):
    fill(people, b"a")

    with pytest.raises(Refused, match=why):
        encrypt(database, keyring, some=only(None, [where]))

    assert emails(people) == [b"a"]
    assert database.fence() == 0


@pytest.mark.parametrize("text", ["person.id='it''s'", "person.id = 'it''s'"])
def test_a_value_in_quotes_is_text(text):
    assert only(None, [text]).where == (("person", Condition("id", "=", "it's")),)


def test_progress_is_told_with_rate_and_batch(database, people, keyring, small_batches):
    fill(people, *(b"a" for _ in range(25)))
    seen = []

    encrypt(database, keyring, pulse=seen.append)

    first_pass = [p for p in seen if p.label == "encrypting person"]
    assert [(p.done, p.total) for p in first_pass] == [(10, 25), (20, 25), (25, 25)]
    assert all(p.rate > 0 and p.batch for p in first_pass)


def test_verification_counts_each_class_and_names_keys_but_no_content(database, people, both_keys, older_key, new_key):
    nested = both_keys.seal(both_keys.seal(b"twice"))
    fill(people, None, b"", b"secret words", both_keys.seal(b"a"), Keyring(older_key).seal(b"b"),
         Keyring(new_key()).seal(b"c"), nested)  # fmt: skip

    found = verify(database, [EMAIL], both_keys, pulse=silent)

    counts = found.columns[0]
    assert (counts.rows, counts.null, counts.empty, counts.plaintext) == (7, 1, 1, 1)
    assert (counts.primary, counts.older, counts.unknown, counts.nested) == (1, 1, 1, 1)
    assert {p.kind: p.keys for p in found.problems} == {"plaintext": ("3",), "unknown": ("6",), "nested": ("7",)}
    assert "secret words" not in "".join(p.describe() for p in found.problems)
    assert not found.ok


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60).map(str.encode)


@given(
    data=st.data(), values=st.lists(st.one_of(st.none(), texts, st.sampled_from([b"gAAAAA", b"x" * 3000])), max_size=20)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_encrypting_and_undoing_is_the_identity_on_any_table(database, people, both_keys, older_key, data, values):
    older = Keyring(older_key)
    for index, value in enumerate(values):
        match data.draw(st.sampled_from(["plain", "plain", "primary", "older"])) if value is not None else "plain":
            case "primary":
                values[index] = old_token(both_keys, value)
            case "older":
                values[index] = old_token(older, value)
    fill(people, *values)
    database.forget()

    encrypt(database, both_keys)
    between = verify(database, [EMAIL], both_keys, pulse=silent)
    decrypt(database, both_keys, undo_of="enc")

    assert between.ok
    assert emails(people) == values


def test_sqlite_values_that_are_not_text_are_refused(sqlite, opened, keyring):
    sqlite.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email)")
    sqlite.run_many("INSERT INTO person VALUES (?, ?)", [(1, "a"), (2, 7)])

    with pytest.raises(Refused, match=r"stored as something else than text.*primary key 2"):
        encrypt(opened(sqlite), keyring)


def test_sqlite_values_that_stop_being_text_during_the_run_are_not_rewritten(sqlite, opened, keyring, small_batches):
    sqlite.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email)")
    sqlite.run_many("INSERT INTO person VALUES (?, ?)", [(n, "a") for n in range(30)])

    def pulse(progress):
        if progress.label.startswith("encrypting"):
            sqlite.run("UPDATE person SET email = X'00ff' WHERE id = 25")

    with pytest.raises(StepFailed, match=r"person\.email.*25.*text"):
        encrypt(opened(sqlite), keyring, pulse=pulse)

    assert sqlite.run("SELECT email FROM person WHERE id = 25") == [(b"\x00\xff",)]


def test_sqlite_text_of_any_bytes_comes_back(sqlite, opened, keyring):
    sqlite.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    values = [b"\xff\xfe", b"a\x00b", b"\x00"]
    sqlite.run_many("INSERT INTO person VALUES (?, CAST(? AS TEXT))", list(enumerate(values)))
    database = opened(sqlite)

    encrypt(database, keyring)
    decrypt(database, keyring)

    rows = sqlite.run("SELECT CAST(email AS BLOB), typeof(email) FROM person ORDER BY id")
    assert rows == [(value, "text") for value in values]
