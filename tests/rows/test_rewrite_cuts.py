"""Cut off, crashed or never answered: the work is taken up again, nothing lost, nothing doubled."""

import random
import time

import pytest
from proxy import Proxy

from deployguard.databases import connect
from deployguard.errors import ConnectionLost
from deployguard.rows import rewrite
from deployguard.rows.progress import BatchSize
from deployguard.rows.target import EncryptedColumn

EMAIL = EncryptedColumn("person", "email", ("id",))
ROWS = 200


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def store(request, server):
    return request.getfixturevalue("postgres" if "Postgres" in type(server).__name__ else "mariadb")


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    return store


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(rewrite, "BatchSize", lambda: BatchSize(20, most=20))


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def fill(people):
    people.run("DELETE FROM person")
    people.run_many("INSERT INTO person VALUES (?, ?)", [(n, f"user{n}@example.org") for n in range(ROWS)])


def plaintexts(people, keyring):
    return [keyring.open(v.encode()).plaintext.decode() for (v,) in people.run("SELECT email FROM person ORDER BY id")]


def tried_again(work):
    """What the engine does: a lost connection is followed by another attempt."""
    while True:
        try:
            return work()
        except ConnectionLost:
            time.sleep(0.01)


def encrypt(url, keyring, operation, tmp_path, pulse=lambda _: None):
    database = connect(url, base=tmp_path)
    try:
        rewrite.encrypt(database, [EMAIL], keyring, operation=operation, fence=1, pulse=pulse, since=0)
    finally:
        database.close()


@pytest.mark.parametrize("most", [15, pytest.param(200, marks=pytest.mark.faults)])
@pytest.mark.parametrize("kind", ["bytes", "commit"])
def test_a_cut_connection_loses_and_doubles_nothing(people, server, proxy, keyring, tmp_path, kind, most):
    url, rounds = people.url.replace(str(server.port), str(proxy.port)), 0
    while len(proxy.cuts) < most:
        rounds += 1
        fill(people)
        for _ in range(4):
            if kind == "bytes":
                proxy.cut_next(after_bytes=random.randrange(20_000))
            else:
                proxy.cut_next(after_commit=random.randrange(1, 12))

        tried_again(lambda name=f"enc{rounds}": encrypt(url, keyring, name, tmp_path))

        assert plaintexts(people, keyring) == [f"user{n}@example.org" for n in range(ROWS)]
    assert set(proxy.cuts) == {kind}


@pytest.mark.parametrize("most", [3, pytest.param(100, marks=pytest.mark.faults)])
def test_a_crashed_server_loses_and_doubles_nothing(people, server, keyring, tmp_path, most):
    crashes = 0
    while crashes < most:
        fill(people)
        moment, began = random.randrange(1, 12), crashes

        def pulse(progress, moment=moment, began=began):
            nonlocal crashes
            if progress.label.startswith("encrypting") and progress.done // 20 == moment and crashes == began:
                crashes += 1
                server.crash()
                server.restart()
                people.connect()

        tried_again(lambda name=f"enc{began}", pulse=pulse: encrypt(people.url, keyring, name, tmp_path, pulse))

        assert crashes in {began, began + 1}
        assert plaintexts(people, keyring) == [f"user{n}@example.org" for n in range(ROWS)]
