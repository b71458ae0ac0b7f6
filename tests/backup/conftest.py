import pytest
from sites import fill

from deployguard.backup.destinations.folder import Folder
from deployguard.backup.seal import operator_key
from deployguard.backup.sqlite import SqliteProduct
from deployguard.backup.take import Order, Store, take
from deployguard.clock import SystemClock


@pytest.fixture
def home(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def key(home):
    return operator_key(home, make=True)


@pytest.fixture
def store(home, key):
    return Store(Folder(home / "backups"), key, SystemClock())


@pytest.fixture
def site(home):
    path = home / "site.db"
    fill(path)
    return path


@pytest.fixture
def product(site):
    return SqliteProduct(site, deadline=20)


@pytest.fixture
def backup(product, store):
    return take(product, store, Order("before", "production", run="r1", step="backup", reason="a test"))
