"""What cannot be restored is refused before the first write to the target, with what to do, on every product."""

import os
import stat
from dataclasses import dataclass, replace
from typing import Any

import pyrage
import pytest
from sites import names

from deployguard.backup.products import product as product_for
from deployguard.backup.restore import restore
from deployguard.backup.take import Order, take
from deployguard.cli.backing import identities_in
from deployguard.databases.base import PREFIX
from deployguard.errors import Refused, UsageError

HUGE = 2**60
SCRATCH = f"{PREFIX}restore-before"
OLDER = {
    "postgresql": ("pg_restore", "pg_restore (PostgreSQL) 9.6.1", "postgresql-client"),
    "mariadb": ("mariadb", "mariadb  Ver 15.1 Distrib 5.5.68-MariaDB, for Linux", "mariadb-client"),
}


@dataclass
class Shop:
    """A database of one product with an encrypted backup, and somebody who has its private key."""

    database: Any
    server: Any
    folder: Any
    monkeypatch: Any

    def __post_init__(self):
        self.product = product_for(self.database.url, base=self.folder, deadline=60)
        self.identity = pyrage.x25519.Identity.generate()
        self.order = Order("before", "production", recipients=(str(self.identity.to_public()),))

    def manifest(self, backup, **changes):
        return replace(backup, manifest=replace(backup.manifest, **changes))

    def engine(self, backup, **changes):
        return self.manifest(backup, identity=replace(backup.manifest.identity, **changes))

    def ask(self, statement):
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return set(cursor.fetchall())

    def seen(self):
        """All that a restore could write to: the rows, the databases of the server, the files here."""
        every = {"postgresql": "SELECT datname FROM pg_database", "mariadb": "SHOW DATABASES"}
        product = self.database.product
        there = self.ask(every[product]) if product in every else set()
        return self.database.run("SELECT id, name FROM person ORDER BY id"), there, names(self.folder / "backups")

    def put_in_the_way(self):
        """A database of somebody else's, where the copy is to be restored."""
        quoted = self.database.quote(SCRATCH)
        self.server.run(f"CREATE DATABASE {quoted}")
        with self.server.connect(SCRATCH) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE theirs (id int)")

    def program(self, name, says):
        """In the place of the product's own."""
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\necho '{says}'\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        self.monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin" if says else str(file.parent))


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def shop(request, home, monkeypatch):
    database = request.getfixturevalue(request.param)
    server = request.getfixturevalue(f"{request.param}_server") if request.param != "sqlite" else None
    if request.param == "postgres":
        monkeypatch.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
    database.run("CREATE TABLE person (id int PRIMARY KEY, name varchar(40))")
    database.run("INSERT INTO person VALUES (1, 'Ann'), (2, 'Bob')")
    yield Shop(database, server, home, monkeypatch)
    if server is not None and (SCRATCH,) in Shop.seen(Shop(database, server, home, monkeypatch))[1]:
        server.run(f"DROP DATABASE {database.quote(SCRATCH)}")


def wrong_identity(shop, backup):
    return backup, [pyrage.x25519.Identity.generate()], "none of the private keys opens", "one of its recipients"


def no_identity(shop, backup):
    return backup, [], "is encrypted", "--identity"


def lost_identity_file(shop, backup):
    return backup, shop.folder / "lost.txt", "cannot be read", "any other recipient's"


def other_engine(shop, backup):
    other = "postgresql" if shop.database.product == "sqlite" else "sqlite"
    return shop.engine(backup, engine=other), [shop.identity], f"is of a {other} database", "backup list"


def older_server(shop, backup):
    if shop.database.product == "sqlite":
        pytest.skip("a SQLite file is the same in all versions of the library")
    return shop.engine(backup, version="99.1"), [shop.identity], r"99\.1, and the server is", "at least as new"


def disk_too_small(shop, backup):
    if shop.database.product != "sqlite":  # a server's own disk is known where it tells
        backup = replace(
            backup, manifest=replace(backup.manifest, stored=replace(backup.manifest.stored, plain_bytes=HUGE))
        )
    return shop.manifest(backup, size=HUGE), [shop.identity], "are needed", "Free some space"


def target_not_empty(shop, backup):
    if shop.server is None:
        pytest.skip("a copy of a file stands in a folder that is made for it")
    shop.put_in_the_way()
    return backup, [shop.identity], f"{SCRATCH}' is in the way: it is not empty", "rename or drop it"


def older_client(shop, backup):
    if shop.server is None:
        pytest.skip("the library is the client")
    name, says, package = OLDER[shop.database.product]
    shop.program(name, says)
    shop.monkeypatch.setattr("deployguard.backup.postgres._FOLDERS", "/nowhere")
    return backup, [shop.identity], "new enough", package


def no_client(shop, backup):
    if shop.server is None:
        pytest.skip("the library is the client")
    shop.program("nothing", "")
    shop.monkeypatch.setattr("deployguard.backup.postgres._FOLDERS", "/nowhere")
    return backup, [shop.identity], "no dump program for the server .* is there", OLDER[shop.database.product][2]


REFUSALS = [
    wrong_identity, no_identity, lost_identity_file, other_engine, older_server, disk_too_small, target_not_empty,
    older_client, no_client,
]  # fmt: skip


@pytest.mark.parametrize("why", REFUSALS, ids=lambda why: why.__name__)
def test_what_cannot_be_restored_is_refused_before_the_first_write_with_what_to_do(why, shop, store):
    backup = take(shop.product, store, shop.order)
    backup, identities, said, hint = why(shop, backup)
    before = shop.seen()

    with pytest.raises((Refused, UsageError), match=said) as caught:
        restore(
            shop.product, backup, store, identities if isinstance(identities, list) else identities_in(str(identities))
        )

    assert hint in caught.value.hint
    assert shop.seen() == before


def test_an_empty_database_that_a_killed_restore_has_left_is_in_nobodys_way(shop, store):
    if shop.server is None:
        pytest.skip("a copy of a file stands in a folder that is made for it")
    backup = take(shop.product, store, shop.order)
    before = shop.seen()
    shop.server.run(f"CREATE DATABASE {shop.database.quote(SCRATCH)}")

    with restore_beside(shop, backup, store):
        pass

    assert shop.seen() == before


def restore_beside(shop, backup, store):
    from deployguard.backup.restore import beside

    return beside(shop.product, backup, store, [shop.identity])


@pytest.mark.parametrize("shop", ["postgres", "mariadb"], indirect=True)
def test_a_backup_is_not_begun_with_a_client_that_is_older_than_the_server(shop, store):
    older_client(shop, None)
    dump = {"postgresql": "pg_dump", "mariadb": "mariadb-dump"}[shop.database.product]
    shop.program(dump, OLDER[shop.database.product][1])

    with pytest.raises(Refused, match="new enough") as caught:
        take(shop.product, store, shop.order)

    assert OLDER[shop.database.product][2] in caught.value.hint
    assert names(store.destination.path) == []
