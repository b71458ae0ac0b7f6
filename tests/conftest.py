"""A real database for whoever asks: each test gets a fresh one, each product one server a session."""

import signal
import time
from itertools import count
from types import SimpleNamespace

import guide_site
import pytest
from hypothesis import HealthCheck, settings
from pages import page_server
from servers import MariaServer, PostgresServer, StorageServer, Store, sqlite_store, with_fetched_programs
from storage import Bucket

from deployguard.databases import connect
from deployguard.keys.keyring import Keyring
from deployguard.secret import Secret

_NUMBERS = count(1)

with_fetched_programs()

# a busy machine takes its time, for a single example or for making them, whatever is tested
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# a shell gives its background jobs ignored signals, and every process that a test starts would inherit them
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_server():
    # what a server does once a minute by itself would be taken for somebody's writing
    server = PostgresServer("autovacuum=off")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb_server():
    server = MariaServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def another_postgres_server():
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def another_mariadb_server():
    server = MariaServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def storage_server():
    server = StorageServer()
    yield server
    server.stop()


@pytest.fixture
def pages():
    """A web server that answers as it is told."""
    with page_server() as running:
        yield running


@pytest.fixture
def time_from(monkeypatch):
    """The time that a command has begins once something has happened: a busy machine is slow to start it."""

    def time_from(happened):
        begun, late = time.monotonic(), None

        def monotonic():
            nonlocal late
            now = time.monotonic()
            if late is None and (happened() or now > begun + 60):
                late = now - begun
            return begun if late is None else now - late

        monkeypatch.setattr("deployguard.process.command.time", SimpleNamespace(monotonic=monotonic))

    return time_from


@pytest.fixture
def bucket(storage_server, monkeypatch, tmp_path):
    """A bucket of its own, and an environment that leads to it."""
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage_server.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"bucket-{next(_NUMBERS)}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    yield Bucket(name, client)
    client.close()


def _fresh(server, product):
    name = f"site{next(_NUMBERS)}"
    server.run(f"CREATE DATABASE {name}")
    store = Store(product, server.url(name), lambda: server.connect(name))
    yield store
    store.close()
    server.run(f"DROP DATABASE {name}{' WITH (FORCE)' if product == 'postgresql' else ''}")


@pytest.fixture
def sqlite(tmp_path):
    store = sqlite_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def postgres(postgres_server):
    yield from _fresh(postgres_server, "postgresql")


@pytest.fixture
def mariadb(mariadb_server):
    yield from _fresh(mariadb_server, "mariadb")


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def store(request):
    """The application's side of a fresh database, of every product in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def opened(tmp_path):
    """Open a store's database as deployguard does; closed at the end."""
    databases = []

    def opened(store, *, read_only=False):
        databases.append(connect(store.url, base=tmp_path, read_only=read_only))
        return databases[-1]

    yield opened
    for database in databases:
        database.close()


@pytest.fixture(scope="session")
def new_key():
    """A good key each time it is called."""
    from cryptography.fernet import Fernet

    return lambda: Secret(Fernet.generate_key().decode(), name="key")


@pytest.fixture(scope="session")
def keyring(new_key):
    return Keyring(new_key())


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The demo with nothing done yet. Copy it before anything is changed."""
    return guide_site.build(tmp_path_factory.mktemp("demo") / "a clone")


@pytest.fixture(scope="session")
def staged(built, tmp_path_factory):
    """The demo after a staging run, beside what staging held before. Copy it before anything is changed."""
    site = guide_site.copy_of(built, tmp_path_factory.mktemp("staged") / "a clone")
    before = site.rows("staging")
    site.deploy("staging")
    return site, before


@pytest.fixture
def site(staged, tmp_path):
    """A copy of its own, with staging done and production still to do."""
    return guide_site.copy_of(staged[0], tmp_path / "a clone")
