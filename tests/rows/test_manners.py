"""Work on rows leaves room: for those who write beside it, and for the rest of its crew."""

import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from beside import beside

from deployguard.databases.base import Gentle
from deployguard.keys.keyring import Keyring
from deployguard.rows import crew, manners, rewrite
from deployguard.rows.crew import Alone, Desk, Place, Slice, Team
from deployguard.rows.manners import STEPS_BACK, Manners, Others
from deployguard.rows.progress import BatchSize
from deployguard.rows.target import EncryptedColumn

EMAIL = EncryptedColumn("person", "email", ("id",))
ROWS = 600
SMALL = Gentle(rows=20, share=0.5, times=2)


@pytest.fixture(autouse=True)
def small_and_often(monkeypatch):
    monkeypatch.setattr(crew, "_WORTH_IT", 1)
    monkeypatch.setattr(manners, "_EVERY", 0.0)
    monkeypatch.setattr(manners, "_EVERY_AT_FULL_SPEED", 0.0)


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email VARCHAR(1000))")
    store.run("CREATE TABLE visit (id INTEGER PRIMARY KEY, many INTEGER NOT NULL)")
    store.run("INSERT INTO visit VALUES (1, 0)")
    store.run_many("INSERT INTO person VALUES (?, ?)", [(n, f"user{n}@example.org") for n in range(ROWS)])
    return store


@pytest.fixture
def database(people, opened):
    database = opened(people)
    database.gentle = SMALL
    return database


@contextmanager
def somebody_writes(store):
    """A user of the application, who saves something a hundred times a second, and is heard on a busy machine too."""
    user, saved = store.another(), []

    def visits(stop):
        while not stop.wait(0.01):
            saved.append(user.run("UPDATE visit SET many = many + 1 WHERE id = 1"))

    def listen(seconds):
        # the first to be saved may have been counted before
        wanted, until = len(saved) + 2, time.monotonic() + 60
        time.sleep(seconds)
        while len(saved) < wanted:
            assert time.monotonic() < until
            time.sleep(0.001)

    with pytest.MonkeyPatch.context() as patch, beside(visits):
        patch.setattr(manners, "time", SimpleNamespace(monotonic=time.monotonic, sleep=listen))
        yield
    user.close()


def encrypt(database, new_key, tmp_path, *, others_first=True):
    """By this process, as where there is one core; what its progress said."""
    key, seen = new_key(), []

    def told(progress):
        if not progress.label.startswith("reading"):
            seen.append(progress)

    team = Team(Place("", tmp_path, (key,)), Alone(Desk(database, Keyring(key))), 1, others_first)
    rewrite.encrypt(
        database, [EMAIL], Keyring(key), operation="enc", fence=1, pulse=told, since=time.time(), crew=team,
        batch=BatchSize(100, most=100, least=100),
    )  # fmt: skip
    return seen


def test_beside_somebody_who_writes_batches_are_small_and_the_progress_says_why(people, database, new_key, tmp_path):
    with somebody_writes(people):
        seen = encrypt(database, new_key, tmp_path)

    assert {progress.batch for progress in seen} == {SMALL.rows}
    assert {progress.note for progress in seen} == {STEPS_BACK}
    assert not people.run("SELECT id FROM person WHERE email LIKE 'user%'")


def test_where_nobody_writes_it_goes_at_full_speed(database, new_key, tmp_path):
    seen = encrypt(database, new_key, tmp_path)

    assert {progress.batch for progress in seen} == {100}
    assert {progress.note for progress in seen} == {""}


def test_once_they_have_stopped_it_goes_at_full_speed_again(people, database, new_key, monkeypatch):
    monkeypatch.setattr(manners, "_GENTLE", 0.03)
    with somebody_writes(people):
        others = Others(database, Alone(Desk(database, Keyring(new_key())), listens=True))
        assert others.listen() == STEPS_BACK
    told = [others.listen() for _ in range(manners._SILENT)]

    assert told == [STEPS_BACK] * (manners._SILENT - 1) + [""]


def test_who_wants_it_at_full_speed_whoever_writes_says_so(people, database, new_key, tmp_path):
    with somebody_writes(people):
        seen = encrypt(database, new_key, tmp_path, others_first=False)

    assert {(progress.batch, progress.note) for progress in seen} == {(100, "")}


def test_a_small_table_is_done_before_anybody_notices(people, database, new_key, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "_WORTH_IT", ROWS + 1)
    with somebody_writes(people):
        seen = encrypt(database, new_key, tmp_path)

    assert {(progress.batch, progress.note) for progress in seen} == {(100, "")}


@pytest.fixture
def clock(monkeypatch):
    """Time goes on only while somebody sleeps."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(manners, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return manners.time


def test_having_stepped_back_one_writes_for_no_more_than_its_share_of_the_time(clock):
    ours = Manners()
    with ours.turn(SMALL):
        clock.sleep(0.02)
    assert clock.monotonic() == 0.02

    ours.step_back(True)
    with ours.turn(Gentle(rows=20, share=0.25, times=4)):
        clock.sleep(0.02)
    assert clock.monotonic() == pytest.approx(0.02 + 0.08)


def test_a_batch_that_had_to_wait_itself_is_not_followed_by_a_pause_without_end(clock, monkeypatch):
    monkeypatch.setattr(manners, "_LONGEST", 0.02)
    ours = Manners()
    ours.step_back(True)
    with ours.turn(Gentle(rows=20, share=0.01, times=100)):
        clock.sleep(0.1)

    assert clock.monotonic() == pytest.approx(0.1 + 0.02)


def test_nobody_of_the_crew_writes_while_one_listens():
    ours, wrote = Manners(), []

    def writes():
        with ours.turn(SMALL):
            wrote.append(True)

    with ours.quiet(1.0) as still:
        thread = threading.Thread(target=writes)
        thread.start()
        time.sleep(0.05)
        assert still
        assert not wrote
    thread.join()

    assert wrote


def test_a_turn_that_a_dead_process_took_with_it_is_not_waited_for_long(database, monkeypatch, new_key):
    monkeypatch.setattr(manners, "_PATIENCE", 0.05)
    desk = Desk(database, Keyring(new_key()))
    desk.manners._turns.acquire()

    assert Others(database, Alone(desk, listens=True)).listen() == ""


def test_processes_step_back_together_and_who_is_hired_later_too(people, new_key, tmp_path, monkeypatch):
    monkeypatch.setattr(crew._Pool, "seconds", 0.0)
    key = new_key()
    with Team(Place(people.url, tmp_path, (key,)), Alone(Desk(None, Keyring(key))), many=2) as team:
        hands = team.hands(ROWS)
        hands.manners.step_back(True)
        assert hands.do(has_stepped_back, None).result().state
        hands.replace()
        assert hands.manners.gentle
        assert hands.do(has_stepped_back, None).result().state


def has_stepped_back(desk, state, seconds):
    return Slice(desk.manners.gentle, 0, ended=True)
