"""A backup that is tried on another server than the database's, with two real servers of each product."""

import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest
from servers import MariaServer
from sites import killed, names

from deployguard.backup.mysql import MysqlProduct
from deployguard.backup.postgres import PostgresProduct
from deployguard.backup.postgres_place import create_like, shape_of
from deployguard.backup.products import product as product_for
from deployguard.backup.take import Order, forget, take
from deployguard.databases.base import Identity
from deployguard.databases.server_disk import Room
from deployguard.databases.url import parse_url
from deployguard.errors import Refused, StepFailed

ORDER = Order("before", "production", run="r1", step="backup", reason="a test")
SCRATCH = "deployguard_scratch-before"
PASSWORD = "sw0rdfish!"


class CaselessServer(MariaServer):
    options = ("--lower-case-table-names=1",)


@pytest.fixture(scope="module")
def caseless():
    server = CaselessServer()
    yield server
    server.stop()


def databases(server):
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT schema_name FROM information_schema.schemata" if isinstance(server, MariaServer)
                       else "SELECT datname FROM pg_database")  # fmt: skip
        return {name for (name,) in cursor.fetchall()}


@pytest.fixture(params=["postgres", "mariadb"])
def both(request, monkeypatch, home):
    """A database on one server, and another server."""
    name = request.param
    site, first = request.getfixturevalue(name), request.getfixturevalue(f"{name}_server")
    other = request.getfixturevalue(f"another_{name}_server")
    if name == "postgres":
        monkeypatch.setenv("PATH", f"{first.programs}:{os.environ['PATH']}")
    site.run("CREATE TABLE person (id int PRIMARY KEY, name varchar(40))")
    site.run("INSERT INTO person VALUES (1, 'Zoë'), (2, 'Bob')")
    product = product_for(site.url, base=home)
    kind, database = (PostgresProduct, "postgres") if name == "postgres" else (MysqlProduct, "mysql")
    return SimpleNamespace(
        site=site, first=first, other=other, kind=kind, product=product,
        trial=product.elsewhere(parse_url(other.url(database))), standing=databases(other),
    )  # fmt: skip


def at_the_copy(store, do):
    """The same store, and something that is done once the copy stands."""

    def pulse(label, *_):
        if label == "restored a copy":
            do()

    return replace(store, pulse=pulse)


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_copy_is_on_the_other_server_alone_and_is_removed(both, store):
    seen = []

    backup = take(
        both.product, at_the_copy(store, lambda: seen.append((databases(both.first), databases(both.other)))), ORDER,
        both.trial,
    )  # fmt: skip

    ((here, there),) = seen
    assert (SCRATCH in here, there - both.standing) == (False, {SCRATCH})
    assert (backup.manifest.state, backup.manifest.rows) == ("restored", {"person": 2})
    assert databases(both.other) == both.standing


def test_the_backup_is_of_the_database_and_not_of_where_it_was_tried(both, store):
    backup = take(both.product, store, ORDER, both.trial)

    assert backup.manifest.identity == both.product.identity()
    assert both.trial.identity() != both.product.identity()


def test_a_copy_that_is_not_equal_is_no_backup_and_is_removed(both, store):
    def change():
        with both.other.connect(SCRATCH) as connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM person WHERE id = 2")

    with pytest.raises(StepFailed, match="'person' has 1 rows, not 2"):
        take(both.product, at_the_copy(store, change), ORDER, both.trial)

    assert databases(both.other) == both.standing
    assert names(store.destination.path) == []


def test_a_killed_trial_leaves_a_copy_that_the_rollback_removes(both, store):
    assert killed(lambda: take(both.product, at_the_copy(store, kill_myself), ORDER, both.trial))
    assert databases(both.other) - both.standing == {SCRATCH}

    forget(both.trial, store.destination.staging, ORDER.id)

    assert databases(both.other) == both.standing
    assert names(store.destination.path) == []


def test_a_killed_trial_is_done_again(both, store):
    assert killed(lambda: take(both.product, at_the_copy(store, kill_myself), ORDER, both.trial))

    assert take(both.product, store, ORDER, both.trial).manifest.state == "restored"
    assert databases(both.other) == both.standing


def test_a_database_of_somebody_elses_that_has_the_copys_name_stays(both, store):
    both.other.run(f"CREATE DATABASE {both.site.quote(SCRATCH)}")
    with both.other.connect(SCRATCH) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE theirs (id int)")

    with pytest.raises(Refused, match="is in the way"):
        take(both.product, store, ORDER, both.trial)

    assert SCRATCH in databases(both.other)
    both.other.run(f"DROP DATABASE {both.site.quote(SCRATCH)}")


def test_another_product_is_refused(both):
    with pytest.raises(Refused, match="another product") as caught:
        both.product.elsewhere(parse_url("mysql://h/x" if both.kind is PostgresProduct else "postgresql://h/x"))

    assert "scratch_in" in caught.value.hint


@pytest.mark.parametrize(("engine", "version"), [(None, "99.1"), ("another", None)])
def test_an_older_server_or_another_flavour_is_refused_before_anything_is_written(
    both, store, monkeypatch, engine, version
):
    """No older server runs here: the database's own says that it is of a later release."""
    real = both.product.identity()
    said = Identity(engine or real.engine, version or real.version, "h", "d", "s")
    identity = both.kind.identity
    monkeypatch.setattr(both.kind, "identity", lambda self: said if self.original is None else identity(self))

    with pytest.raises(Refused, match="does not restore there") as caught:
        take(both.product, store, ORDER, both.trial)

    assert "at least as new" in caught.value.hint
    assert not store.destination.path.exists()


def test_room_is_asked_of_the_disk_that_the_copy_goes_to(both, store, monkeypatch):
    monkeypatch.setattr(both.kind, "room", lambda self, _: Room(0 if self.original else 2**60, "the other server"))

    with pytest.raises(Refused, match=r"the other server has 0 MiB free.*a copy of the database"):
        take(both.product, store, ORDER, both.trial)

    assert names(store.destination.path) == []
    assert take(both.product, store, replace(ORDER, verify="none"), both.trial).manifest.state == "written"


def test_the_password_of_the_other_server_is_in_no_programs_words_or_variables(both, store, tmp_path, monkeypatch):
    program = "pg_restore" if both.kind is PostgresProduct else "mariadb"
    if both.kind is PostgresProduct:
        both.other.run(f"CREATE ROLE trying SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    else:
        both.other.run(f"GRANT ALL ON *.* TO trying@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
    real, folder = shutil.which(program), tmp_path / "bin"
    folder.mkdir()
    (folder / program).write_text(f'#!/bin/sh\n(echo "$@"; env) >> {tmp_path}/seen\nexec {real} "$@"\n')
    (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    where = replace(both.trial.where, user="trying")
    url = where.shown.replace("trying@", "trying:sw0rdfish%21@")

    backup = take(both.product, store, ORDER, both.product.elsewhere(parse_url(url)))

    seen = (tmp_path / "seen").read_text()
    assert "deployguard" in seen or "--defaults-file" in seen
    assert "sw0rdfish" not in seen + (tmp_path / "backups" / "before" / "manifest.json").read_text()
    assert backup.manifest.state == "restored"
    both.other.run("DROP ROLE trying" if both.kind is PostgresProduct else "DROP USER trying@'127.0.0.1'")


@pytest.fixture
def pair(another_postgres_server, postgres, postgres_server, monkeypatch, home):
    """Of PostgreSQL alone."""
    monkeypatch.setenv("PATH", f"{postgres_server.programs}:{os.environ['PATH']}")
    postgres.run("CREATE TABLE person (id int PRIMARY KEY, name text)")
    product = product_for(postgres.url, base=home)
    return product, product.elsewhere(parse_url(another_postgres_server.url("postgres")))


def _refused(pair, store, match):
    with pytest.raises(Refused, match=match) as caught:
        take(pair[0], store, ORDER, pair[1])
    assert not store.destination.path.exists()
    return caught.value


def test_users_that_are_not_there_are_named_and_once_they_are_the_rights_are_compared(
    pair, store, postgres, another_postgres_server
):
    postgres.run('CREATE ROLE reader; CREATE ROLE "ow""ner"; GRANT SELECT ON person TO reader')
    postgres.run('CREATE TABLE other (id int); ALTER TABLE other OWNER TO "ow""ner"')
    before = databases(another_postgres_server)

    error = _refused(pair, store, "there is no user 'ow\"ner', 'reader'")
    assert databases(another_postgres_server) == before
    another_postgres_server.run('CREATE ROLE reader; CREATE ROLE "ow""ner"')
    state = take(pair[0], store, ORDER, pair[1]).manifest.state

    assert "scratch_in" in error.hint
    assert state == "restored"
    postgres.run('DROP OWNED BY reader, "ow""ner"; DROP ROLE reader, "ow""ner"')
    another_postgres_server.run('DROP ROLE reader, "ow""ner"')


def test_an_extension_that_is_not_there_is_named(pair, store, postgres):
    postgres.run("CREATE EXTENSION pg_trgm; SET allow_system_table_mods = on")
    postgres.run("UPDATE pg_extension SET extname = 'far_away' WHERE extname = 'pg_trgm'")

    _refused(pair, store, "there is no extension 'far_away'")


def test_a_collation_that_is_not_there_is_named(pair, store, postgres):
    postgres.run("SET allow_system_table_mods = on")
    postgres.run("CREATE COLLATION pg_catalog.far_away (locale = 'C')")
    postgres.run('ALTER TABLE person ADD COLUMN place text COLLATE "far_away"')

    _refused(pair, store, "there is no collation 'far_away'")


def test_a_locale_that_is_not_there_is_named(pair, postgres):
    with pair[1].connection() as there, pair[0].connection() as here:
        shape = shape_of(here, pair[0].where.database) | {"datcollate": "xx_YY", "datctype": "xx_YY"}

        with pytest.raises(Refused, match="locale xx_YY and encoding UTF8") as caught:
            create_like(there, shape, "not_made", "a test")

    assert "Install that locale" in caught.value.hint


def test_a_tablespace_of_its_own_does_not_stand_in_the_way(pair, store, postgres, postgres_server):
    folder = postgres_server.folder / "space"
    folder.mkdir()
    if postgres_server.user:
        shutil.chown(folder, postgres_server.user)
    postgres.run(f"CREATE TABLESPACE far LOCATION '{folder}'")
    postgres.run("CREATE TABLE cold (id int) TABLESPACE far")

    assert take(pair[0], store, ORDER, pair[1]).manifest.state == "restored"

    postgres.run("DROP TABLE cold")
    postgres.run("DROP TABLESPACE far")


def test_a_copy_elsewhere_is_open_to_nobody_but_its_owner(pair, store, another_postgres_server):
    another_postgres_server.run("CREATE ROLE passer LOGIN")

    def come_in():
        with pytest.raises(psycopg.OperationalError, match="denied"):
            psycopg.connect(host="127.0.0.1", port=another_postgres_server.port, user="passer", dbname=SCRATCH)

    assert take(pair[0], at_the_copy(store, come_in), ORDER, pair[1]).manifest.state == "restored"
    another_postgres_server.run("DROP ROLE passer")


def test_a_server_that_spells_names_of_tables_otherwise_is_refused(mariadb, caseless, store, home):
    product = product_for(mariadb.url, base=home)

    with pytest.raises(Refused, match="lower_case_table_names is 1, not 0"):
        take(product, store, ORDER, product.elsewhere(parse_url(caseless.url("mysql"))))

    assert not store.destination.path.exists()


def test_a_collation_that_a_server_does_not_know_is_named(mariadb, another_mariadb_server, store, home, monkeypatch):
    """Servers of one release know the same ones: this one is asked for one that nobody knows."""
    product = product_for(mariadb.url, base=home)
    monkeypatch.setattr("deployguard.backup.mysql._create_like", lambda *_: "CREATE DATABASE x COLLATE far_away_ci")

    with pytest.raises(Refused, match="does not know the character set or collation"):
        take(product, store, ORDER, product.elsewhere(parse_url(another_mariadb_server.url("mysql"))))

    assert names(store.destination.path) == []


def test_a_definer_who_is_not_there_is_compared_by_name(mariadb, another_mariadb_server, store, home):
    mariadb.run("CREATE USER far_away@localhost")
    mariadb.run("CREATE TABLE t (id int PRIMARY KEY)")
    mariadb.run("CREATE DEFINER = far_away@localhost VIEW seen AS SELECT id FROM t")
    mariadb.run("GRANT ALL ON *.* TO far_away@localhost")
    product = product_for(mariadb.url, base=home)

    backup = take(product, store, ORDER, product.elsewhere(parse_url(another_mariadb_server.url("mysql"))))

    assert backup.manifest.state == "restored"
    mariadb.run("DROP USER far_away@localhost")
