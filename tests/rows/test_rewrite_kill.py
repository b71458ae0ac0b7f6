"""Killed at any moment, with others writing: nothing lost, nothing doubled."""

import os
import random
import signal
import time
import traceback
from contextlib import suppress
from pathlib import Path

import pytest

from deployguard.databases import connect
from deployguard.errors import ConnectionLost, StepFailed
from deployguard.keys.keyring import Keyring
from deployguard.rows import passes, rewrite
from deployguard.rows.progress import BatchSize
from deployguard.rows.target import EncryptedColumn

EMAIL = EncryptedColumn("person", "email", ("id",))
ROWS = 150


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email TEXT)")
    return store


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(rewrite, "BatchSize", lambda: BatchSize(10, most=10))


@pytest.fixture
def fill(people):
    def fill(seal=lambda value: value):
        people.run("DELETE FROM person")
        wanted = {n: f"user{n}@example.org" for n in range(ROWS)}
        people.run_many("INSERT INTO person VALUES (?, ?)", [(n, seal(v)) for n, v in wanted.items()])
        return wanted

    return fill


def forked(work):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent is to see it and this process to end
        traceback.print_exc()
    os._exit(status)


def run_to_the_end(work, kills, most):
    """Start `work` in a process and kill it, until it has ended by itself or was killed `most` times more."""
    while True:
        child = forked(work)
        if len(kills) < most:
            time.sleep(random.expovariate(1 / random.choice([0.005, 0.02, 0.06])))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            assert status == 0
            return
        kills.append(status)


def write_until_told(store, ledger, stop, seal):
    """Old code of the application: writes as it did, deletes and inserts; each acknowledged write goes on record."""
    writer, number = store.another(), 0
    with Path(ledger).open("a", buffering=1) as record:
        while not stop.exists():
            number += 1
            key = random.randrange(ROWS + 50)
            if number % 7 == 0:
                writer.run("DELETE FROM person WHERE id = ?", key)
                record.write(f"{key}\n")
            else:
                writer.run("DELETE FROM person WHERE id = ?", key) if key >= ROWS else None
                verb = (
                    "INSERT INTO person (email, id) VALUES (?, ?)"
                    if key >= ROWS
                    else "UPDATE person SET email = ? WHERE id = ?"
                )
                writer.run(verb, seal(f"write {number}"), key)
                record.write(f"{key} write {number}\n")
            time.sleep(0.002)


def worker(people, tmp_path, operation):
    """What the engine does: a lost connection, or a lock that a killed one still holds, is followed by another try."""

    def work():
        while True:
            with suppress(ConnectionLost):
                database = connect(people.url, base=tmp_path)
                operation(database)
                return

    return work


def plaintexts(people, keyring):
    return {
        key: keyring.open(value.encode()).plaintext.decode()
        for key, value in people.run("SELECT id, email FROM person")
    }


@pytest.mark.parametrize("most", [25, pytest.param(1000, marks=pytest.mark.faults)])
def test_a_killed_worker_leaves_each_row_encrypted_once(people, fill, keyring, tmp_path, most):
    kills = []
    while len(kills) < most:
        wanted, operation = fill(), f"enc{len(kills)}"

        run_to_the_end(
            worker(people, tmp_path, lambda db, operation=operation: rewrite.encrypt(
                db, [EMAIL], keyring, operation=operation, fence=1, pulse=lambda _: None, since=0
            )), kills, most,
        )  # fmt: skip

        assert plaintexts(people, keyring) == wanted


@pytest.mark.parametrize("most", [10, pytest.param(300, marks=pytest.mark.faults)])
def test_a_killed_undo_leaves_each_row_as_it_was(people, fill, keyring, tmp_path, most):
    kills = []
    while len(kills) < most:
        wanted, operation = fill(lambda value: keyring.seal(value.encode()).decode()), f"dec{len(kills)}"

        run_to_the_end(
            worker(people, tmp_path, lambda db, operation=operation: rewrite.decrypt(
                db, [EMAIL], keyring, operation=operation, fence=1, pulse=lambda _: None
            )), kills, most,
        )  # fmt: skip

        assert dict(people.run("SELECT id, email FROM person")) == wanted


@pytest.fixture
def time_to_write(monkeypatch):
    """Others write between what is read of a batch and what is written of it."""
    changes = passes._Rewriter.changes

    def and_then_some(self, rows):
        found = changes(self, rows)
        time.sleep(0.005)
        return found

    monkeypatch.setattr(passes._Rewriter, "changes", and_then_some)


SEALED = {"encrypt": (False, True), "rotate": (True, True), "decrypt": (True, False)}
"""Whether a value is a token before, and while the code of then goes on to write; and whether it is one after."""


@pytest.mark.parametrize("most", [15, pytest.param(500, marks=pytest.mark.faults)])
@pytest.mark.parametrize("verb", SEALED)
@pytest.mark.usefixtures("time_to_write")
def test_no_acknowledged_write_of_others_is_lost(people, fill, new_key, tmp_path, verb, most):
    before, after = SEALED[verb]
    old, new = new_key(), new_key()
    keyring = Keyring(new, [old])

    def as_before(value):
        return Keyring(old).seal(value.encode()).decode() if before else value

    wanted, kills, ledger, stop = fill(as_before), [], tmp_path / "ledger", tmp_path / "stop"
    ledger.touch()
    writer = forked(lambda: write_until_told(people, ledger, stop, as_before))
    since = {"since": 0} if verb == "encrypt" else {}

    def work(name):
        return worker(people, tmp_path, lambda db: getattr(rewrite, verb)(
            db, [EMAIL], keyring, operation=name, fence=1, pulse=lambda _: None, **since
        ))  # fmt: skip

    def meanwhile(name):
        def some_passes():
            passes.MOST_PASSES = 2
            # the writer never ends, so no pass is ever clean: the sweep below does the rest
            with suppress(StepFailed):
                work(name)()

        return some_passes

    while len(kills) < most:
        run_to_the_end(meanwhile(f"{verb}{len(kills)}"), kills, most)
    stop.touch()
    assert os.waitpid(writer, 0)[1] == 0
    run_to_the_end(work("sweep"), kills, 0)

    for line in ledger.read_text("utf-8").splitlines():
        key, _, value = line.partition(" ")
        if value and (int(key) in wanted or int(key) >= ROWS):
            wanted[int(key)] = value
        elif not value:
            wanted.pop(int(key), None)
    assert len(ledger.read_text("utf-8").splitlines()) > most
    found = plaintexts(people, Keyring(new)) if after else dict(people.run("SELECT id, email FROM person"))
    assert found == wanted
