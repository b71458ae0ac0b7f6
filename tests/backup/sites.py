"""SQLite databases as nasty as real ones, processes that write to them, and processes that die."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

from deployguard.backup.stored import Files

ODD_NAME = 'or"der\n?=%--` 表'
TORTURE = f"""
CREATE TABLE person (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE, photo BLOB, weight REAL);
CREATE TABLE "{ODD_NAME.replace('"', '""')}" (
    rowid TEXT, "select" TEXT, person INTEGER REFERENCES person(id), "a?b=c%d" GENERATED ALWAYS AS (upper("select"))
);
CREATE TABLE setting (name TEXT, place TEXT, value, PRIMARY KEY (name, place)) WITHOUT ROWID;
CREATE TABLE blank (id INTEGER PRIMARY KEY);
CREATE VIEW people AS SELECT name FROM person;
CREATE INDEX person_name ON person (lower(name)) WHERE name IS NOT NULL;
CREATE TRIGGER named AFTER INSERT ON blank BEGIN INSERT INTO setting VALUES ('n', new.id, 1); END;
CREATE VIRTUAL TABLE words USING fts5(text);
CREATE VIRTUAL TABLE place USING rtree(id, low, high);
CREATE TABLE exact (id INTEGER PRIMARY KEY, n INT CHECK (n > 0), twice INT GENERATED ALWAYS AS (n * 2) STORED) STRICT;
CREATE TRIGGER renamed INSTEAD OF UPDATE ON people BEGIN
    UPDATE person SET name = new.name WHERE name = old.name;
END;
CREATE TABLE credit (n INTEGER PRIMARY KEY, amount INTEGER);
CREATE TABLE debit (n INTEGER PRIMARY KEY, amount INTEGER);
PRAGMA user_version = 7;
PRAGMA application_id = 77;
"""
WRITER = """
    import itertools, sqlite3, sys, time
    connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
    start = connection.execute("SELECT coalesce(max(n), 0) + 1 FROM credit").fetchone()[0]
    for n in itertools.count(start):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO credit VALUES (?, ?)", (n, n))
        connection.execute("INSERT INTO debit VALUES (?, ?)", (n, -n))
        connection.execute("COMMIT")
        print(n, flush=True)
        time.sleep(float(sys.argv[2]))
"""


def fill(path, *, journal="wal", people=50):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.executescript(TORTURE)
    odd = '"' + ODD_NAME.replace('"', '""') + '"'
    for n in range(people):
        connection.execute(
            "INSERT INTO person VALUES (?, ?, ?, ?)", (n, f"Zoë {n}\0😀 ", bytes([n % 256, 0, 255]), n / 7)
        )
        connection.execute(f"INSERT INTO {odd} (rowid, person) VALUES (?, ?)", (None if n % 3 else "", n))
    connection.execute("INSERT INTO setting VALUES ('a', 'b', NULL), ('a', 'c', 1), ('a', 'd', 1.0), ('a', 'e', x'31')")
    connection.execute("INSERT INTO setting VALUES ('bad', '', CAST(x'ff80' AS TEXT))")
    connection.execute("INSERT INTO words VALUES ('hello world')")
    connection.execute("INSERT INTO place VALUES (1, 2.5, 3.5)")
    connection.execute("INSERT INTO exact (n) VALUES (21)")
    connection.commit()
    connection.close()


def rows(path, query):
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def at(backup):
    """The folder of a backup that is kept in one."""
    return Path(backup.where)


def files(backup):
    """Its files, as they should be."""
    return Files(at(backup), backup.manifest, backup.where)


def names(folder):
    """What stands in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


def change(path, statement):
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(statement)
    finally:
        connection.close()


@contextmanager
def writing(path, pause=0.0):
    """Another process that writes pairs of rows until the end; `acknowledged` are the numbers of those it has written."""
    # a file: a pipe that nobody reads gets full, and the writer would stand still
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(pause)], stdout=said)
        process.acknowledged = lambda: [*map(int, os.pread(said.fileno(), 2**24, 0).split())]
        try:
            while not process.acknowledged():
                assert process.poll() is None
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
            process.wait()


def killed(work, *, after=None, at_event=None, started=lambda _pid: None):
    """Do the work in a process that is killed after some seconds, or at its n-th file operation; True if it was.

    `started` is told its number: somebody else may kill it.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of threads that are not there in the child; ours begins nothing that needs them
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            if at_event is not None:
                _kill_at(at_event)
            work()
        except BaseException:  # noqa: BLE001 - the child must never go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    started(pid)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}
    return os.WIFSIGNALED(status)


def _kill_at(number):
    left = [number]

    def hook(event, _arguments):
        if event == "open" or event.startswith(("os.", "sqlite3.", "shutil.")):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
