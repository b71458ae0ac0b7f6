"""What goes wrong in the middle is told in words, loses nothing, and the work goes on once it is mended."""

import os
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from deployguard.databases import connect
from deployguard.errors import DeployguardError, Refused, StepFailed
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


@pytest.fixture
def small_disk():
    """A folder of eight mebibytes that a database server may write to."""
    folder = Path(tempfile.mkdtemp(prefix="dg-"))
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700,uid=nobody", "none", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        folder.rmdir()
        pytest.skip("only an administrator can make a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


def fill_up(file):
    while True:
        file.write(b"x" * 4096)


@contextmanager
def a_table_there(request, product, folder):
    """The database, with a table whose file stands in a folder."""
    store = request.getfixturevalue(product)
    columns = "CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)"
    if product == "mariadb":
        store.run(f"{columns} DATA DIRECTORY = '{folder}'")
        yield store
        store.run("DROP TABLE person")
        return
    space = f"small_{store.url.rpartition('/')[2]}"
    store.run(f"CREATE TABLESPACE {space} LOCATION '{folder}'")
    store.run(f"{columns} TABLESPACE {space}")
    yield store
    store.run("DROP TABLE person")
    store.run(f"DROP TABLESPACE {space}")


@pytest.mark.parametrize("product", ["postgres", "mariadb"])
def test_a_disk_of_the_server_that_gets_full_in_the_middle(request, product, small_disk, opened, keyring):
    values, ballast = [f"{n} {'x' * 2000}" for n in range(60)], small_disk / "ballast"
    with a_table_there(request, product, small_disk) as store:
        store.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(values, 1)))

        def fill():
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                fill_up(file)

        with pytest.raises(StepFailed, match="no more room") as stopped:
            work("encrypt", opened(store), keyring, in_the_middle(fill))

        assert "then resume" in stopped.value.hint
        found, sealed = said(keyring, store)
        assert (found, 20 <= sealed < 60) == (values, True)
        ballast.unlink()
        work("encrypt", opened(store), keyring)
        assert said(keyring, store) == (values, 60)


@contextmanager
def in_which_we_may_not_write(folder):
    """A harm that takes the right to write in a folder away; root loses it only as somebody else."""
    us = os.geteuid()

    def take():
        folder.chmod(0o555)
        if us == 0:
            os.seteuid(65534)

    try:
        yield take
    finally:
        os.seteuid(us)
        folder.chmod(0o755)


def test_a_file_that_may_not_be_written_any_more(sqlite, opened, keyring, tmp_path):
    sqlite.run("PRAGMA journal_mode = DELETE")  # each transaction has a file of its own beside the database
    sqlite.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    sqlite.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(VALUES, 1)))

    with (
        in_which_we_may_not_write(tmp_path) as take,
        pytest.raises(Refused, match=r"read-only|cannot be opened") as stopped,
    ):
        work("encrypt", opened(sqlite), keyring, in_the_middle(take))

    assert "permission" in stopped.value.hint
    values, sealed = said(keyring, sqlite)
    assert (values, 20 <= sealed < 60) == (VALUES, True)
    goes_on(sqlite, opened, keyring)


def test_a_server_that_gets_read_only_in_the_middle(mariadb, tmp_path, keyring):
    mariadb.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    mariadb.run_many("INSERT INTO person VALUES (?, ?)", list(enumerate(VALUES, 1)))
    base = mariadb.url.rpartition("/")[2]
    name = f"writer_{base}"
    mariadb.run(f"CREATE USER {name}@'%'")
    mariadb.run(f"GRANT ALL ON {base}.* TO {name}@'%'")
    writer = connect(mariadb.url.replace("root@", f"{name}@"), base=tmp_path, read_only=False)

    try:
        with pytest.raises(Refused, match="read-only") as stopped:
            work("encrypt", writer, keyring, in_the_middle(lambda: by_another(mariadb, "SET GLOBAL read_only = 1")))
        values, sealed = said(keyring, mariadb)
        mariadb.run("SET GLOBAL read_only = 0")
        work("encrypt", writer, keyring)
    finally:
        mariadb.run("SET GLOBAL read_only = 0")
        writer.close()
        mariadb.run(f"DROP USER {name}@'%'")

    assert "primary" in stopped.value.hint
    assert (values, 20 <= sealed < 60) == (VALUES, True)
    assert said(keyring, mariadb) == (VALUES, 60)


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
