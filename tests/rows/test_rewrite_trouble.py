"""What goes wrong in the middle is told in words, loses nothing, and the work goes on once it is mended."""

import time
from contextlib import closing

import pytest

from deployguard.databases import connect
from deployguard.errors import DeployguardError, StepFailed
from deployguard.rows import rewrite
from deployguard.rows.progress import BatchSize
from deployguard.rows.target import EncryptedColumn

EMAIL = EncryptedColumn("person", "email", ("id",))
VALUES = [f"user{n}@example.org" for n in range(60)]


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    store.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(VALUES, 1)))
    return store


def work(verb, database, keyring, pulse=lambda _: None):
    how = {"operation": verb, "fence": 1, "pulse": pulse, "batch": BatchSize(10, most=10)}
    if verb == "encrypt":
        how["since"] = time.time()
    return getattr(rewrite, verb)(database, [EMAIL], keyring, **how)


def in_the_middle(harm):
    """A pulse that does harm once, when some batches are written and others are not."""
    done = []

    def pulse(progress):
        if progress.label == "encrypting person" and progress.done >= 20 and not done:
            done.append(harm())

    return pulse


def by_another(store, *statements):
    """Somebody else's session."""
    with closing(store.another()) as other:
        for statement in statements:
            other.run(statement)


def said(keyring, store, table="person", column="email"):
    """What each value says, sealed or not, and how many are sealed."""
    values = [value.encode() for (value,) in store.run(f"SELECT {column} FROM {table} ORDER BY id")]
    opened = [keyring.open(value) for value in values]
    return [
        (o.plaintext if o else value).decode() for o, value in zip(opened, values, strict=True)
    ], sum(o is not None for o in opened)  # fmt: skip


def goes_on(people, opened, keyring):
    work("encrypt", opened(people), keyring)
    assert said(keyring, people) == (VALUES, 60)


@pytest.mark.parametrize(
    ("harm", "mend", "table", "column"),
    [
        ("ALTER TABLE person RENAME TO someone", "ALTER TABLE someone RENAME TO person", "someone", "email"),
        (
            "ALTER TABLE person RENAME COLUMN email TO mail",
            "ALTER TABLE person RENAME COLUMN mail TO email",
            "person",
            "mail",
        ),
    ],
    ids=["table", "column"],
)
def test_a_table_or_column_that_is_renamed_in_the_middle(people, opened, keyring, harm, mend, table, column):
    with pytest.raises(StepFailed, match="a table or column is not there") as stopped:
        work("encrypt", opened(people), keyring, in_the_middle(lambda: by_another(people, harm)))

    assert stopped.value.hint
    values, sealed = said(keyring, people, table, column)
    assert values == VALUES
    assert 20 <= sealed < 60
    people.run(mend)
    goes_on(people, opened, keyring)


def test_a_table_that_is_dropped_in_the_middle_and_comes_back_from_a_backup(people, opened, keyring):
    with pytest.raises(StepFailed, match="a table or column is not there"):
        work("encrypt", opened(people), keyring, in_the_middle(lambda: by_another(people, "DROP TABLE person")))

    people.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    people.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(VALUES, 1)))
    goes_on(people, opened, keyring)


@pytest.mark.parametrize("verb", ["decrypt", "rotate"])
def test_a_column_that_is_gone_is_never_taken_for_one_with_nothing_to_do(people, opened, keyring, verb):
    work("encrypt", opened(people), keyring)
    database, renamed = opened(people), []

    def rename(_):
        if not renamed:
            renamed.append(by_another(people, "ALTER TABLE person RENAME COLUMN email TO mail"))

    with pytest.raises(StepFailed, match="a table or column is not there"):
        work(verb, database, keyring, rename)
    assert said(keyring, people, column="mail")[0] == VALUES


def test_a_column_that_gets_too_narrow_in_the_middle(store, opened, keyring):
    if store.product == "sqlite":
        pytest.skip("SQLite has no widths")
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email VARCHAR(200))")
    store.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(VALUES, 1)))
    change = "ALTER COLUMN email TYPE VARCHAR({})" if store.product == "postgresql" else "MODIFY email VARCHAR({})"

    def narrow():
        # those that are sealed already make room first, as somebody might who does not know better
        make_room = "UPDATE person SET email = 'x' WHERE length(email) > 90"
        by_another(store, make_room, f"ALTER TABLE person {change.format(90)}")

    with pytest.raises(StepFailed, match=r"too long|new value has") as stopped:
        work("encrypt", opened(store), keyring, in_the_middle(narrow))

    assert "iden" in stopped.value.hint
    store.run(f"ALTER TABLE person {change.format(200)}")
    work("encrypt", opened(store), keyring)
    assert said(keyring, store)[1] == 60


def test_a_disk_that_gets_full_in_the_middle(sqlite, opened, keyring):
    sqlite.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    values = [f"{n} {'x' * 2000}" for n in range(60)]
    sqlite.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(values, 1)))
    database = opened(sqlite)

    def fill():
        [(pages,)] = sqlite.run("PRAGMA page_count")
        database._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StepFailed, match="is full") as stopped:
        work("encrypt", database, keyring, in_the_middle(fill))

    assert "then resume" in stopped.value.hint
    assert said(keyring, sqlite)[0] == values
    work("encrypt", opened(sqlite), keyring)
    assert said(keyring, sqlite) == (values, 60)


@pytest.mark.parametrize("product", ["postgres", "mariadb"])
def test_rights_that_are_lost_in_the_middle(request, tmp_path, keyring, product):
    store = request.getfixturevalue(product)
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    store.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(VALUES, 1)))
    base = store.url.rpartition("/")[2]
    if product == "postgres":
        user, grant, revoke = f"worker_{base}", "GRANT UPDATE ON person TO {}", "REVOKE UPDATE ON person FROM {}"
        rights = [
            f"CREATE ROLE {user} LOGIN",
            f"GRANT ALL ON SCHEMA public TO {user}",
            f"GRANT SELECT ON person TO {user}",
        ]
        url = store.url.replace("postgres@", f"{user}@")
    else:
        user, name = f"worker_{base}@'%'", f"worker_{base}"
        grant, revoke = f"GRANT UPDATE ON {base}.person TO {{}}", f"REVOKE UPDATE ON {base}.person FROM {{}}"
        state = [f"GRANT CREATE, UPDATE ON {base}.deployguard_{t} TO {user}" for t in ("fence", "checkpoint", "kept")]
        rights = [f"CREATE USER {user}", f"GRANT SELECT, INSERT, DELETE, CREATE, DROP ON {base}.* TO {user}", *state]
        url = store.url.replace("root@", f"{name}@")
    for right in [*rights, grant.format(user)]:
        store.run(right)
    worker = connect(url, base=tmp_path, read_only=False)

    try:
        with pytest.raises(DeployguardError) as stopped:
            work("encrypt", worker, keyring, in_the_middle(lambda: by_another(store, revoke.format(user))))
        values, sealed = said(keyring, store)
        store.run(grant.format(user))
        work("encrypt", worker, keyring)
    finally:
        worker.close()
        if product == "postgres":
            store.run(f"DROP OWNED BY {user}")
        store.run(f"DROP {'ROLE' if product == 'postgres' else 'USER'} {user}")

    assert "right" in stopped.value.hint
    assert (values, 20 <= sealed < 60) == (VALUES, True)
    assert said(keyring, store) == (VALUES, 60)
