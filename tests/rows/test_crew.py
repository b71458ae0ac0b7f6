"""Several processes share a table: each row once, and whoever dies is replaced."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from looking import alive

from deployguard.databases import connect
from deployguard.errors import ConnectionLost, LeaseLost, StepFailed
from deployguard.rows import crew, rewrite, tables
from deployguard.rows.crew import Alone, Desk, Place, Slice, Team, carry_out
from deployguard.rows.progress import BatchSize
from deployguard.rows.target import EncryptedColumn
from deployguard.rows.verify import verify
from deployguard.secret import Secret

EMAIL = EncryptedColumn("person", "email", ("id",))
ROWS = 400
KEY = "xSNq8PvZzLnBBM5GJj4xtKrPt1Q4yY7NRs7u-Kab2c8="


@pytest.fixture
def people(store):
    store.run("CREATE TABLE person (id INTEGER PRIMARY KEY, email VARCHAR(1000))")
    store.run_many("INSERT INTO person VALUES (?, ?)", [(n, f"user{n}@example.org") for n in range(ROWS)])
    return store


@pytest.fixture(autouse=True)
def everything_small(monkeypatch):
    monkeypatch.setattr(crew, "_WORTH_IT", 1)
    monkeypatch.setattr(crew._Pool, "seconds", 0.0)
    monkeypatch.setattr(tables, "_RANGE", 60)


@pytest.fixture(scope="module")
def secret():
    from cryptography.fernet import Fernet

    return Secret(Fernet.generate_key().decode(), name="key")


@pytest.fixture
def keyring(secret):
    from deployguard.keys.keyring import Keyring

    return Keyring(secret)


@pytest.fixture
def team(people, keyring, secret, tmp_path):
    database = connect(people.url, base=tmp_path)
    with Team(Place(people.url, tmp_path, (secret,)), Alone(Desk(database, keyring)), many=2) as team:
        yield team
    database.close()


def encrypt(team, *, pulse=lambda _: None, fence=1):
    desk = team.alone.desk
    return rewrite.encrypt(
        desk.database, [EMAIL], desk.keyring, operation="enc", fence=fence, pulse=pulse, since=time.time(), crew=team,
        batch=BatchSize(10, most=10),
    )  # fmt: skip


def opened_by(keyring, people):
    return [keyring.open(v.encode()).plaintext.decode() for (v,) in people.run("SELECT email FROM person ORDER BY id")]


def everybody():
    return [f"user{n}@example.org" for n in range(ROWS)]


def workers(parent=None):
    """Process ids of the workers of a process, by what the kernel says."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            started_by = int((folder / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if started_by == (parent or os.getpid()) and b"spawn_main" in words:
            found.append(int(folder.name))
    return found


def test_two_processes_encrypt_each_row_once_and_give_back_every_byte(team, people, keyring):
    done = encrypt(team)

    assert opened_by(keyring, people) == everybody()
    assert (done[0].rows, done[0].passes) == (ROWS, 2)
    desk = team.alone.desk
    assert [c.changed + c.total for c in desk.database.checkpoints("enc", "person")] == [60] * 6 + [40]
    assert verify(desk.database, [EMAIL], desk.keyring, pulse=lambda _: None, crew=team).columns[0].primary == ROWS

    rewrite.decrypt(
        desk.database, [EMAIL], desk.keyring, operation="dec", fence=1, pulse=lambda _: None, undo_of="enc", crew=team
    )

    assert [v for (v,) in people.run("SELECT email FROM person ORDER BY id")] == everybody()


def come_in(desk, state, seconds):
    """A slice that ends once so many processes do one each: the first of a crew may be done before the next has begun."""
    folder, many = state
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < many:
        assert time.monotonic() < until
        time.sleep(0.01)
    return Slice(state, 1, ended=True)


def in_turn(desk, state, seconds):
    """When this slice had its turn, and how willing its process is to let others go first."""
    with desk.manners.turn(desk.database.gentle):
        begun = time.monotonic()
        time.sleep(0.02)
        return Slice((begun, time.monotonic(), os.nice(0)), 1, ended=True)


@pytest.mark.parametrize(("many", "at_once"), [(2, 1), (4, 2)])
def test_half_of_them_write_at_a_time_and_all_of_them_behind_others(team, tmp_path_factory, many, at_once):
    team.many = many
    here = tmp_path_factory.mktemp("here")
    carry_out(team.hands(ROWS), come_in, [(here, many)] * many, lambda _: None)

    done = carry_out(team.hands(ROWS), in_turn, [None] * 40, lambda _: None)

    begun = sorted(begun for begun, _, _ in done)
    assert max(sum(b <= at < e for b, e, _ in done) for at in begun) == at_once
    assert {nice for _, _, nice in done} == {min(19, os.nice(0) + crew._NICE)}


def test_what_many_read_is_what_one_reads(team, people, keyring):
    people.run("UPDATE person SET email = ? WHERE id > 300", keyring.seal(b"a").decode())
    people.run("UPDATE person SET email = NULL WHERE id < 5")
    desk = team.alone.desk

    many = verify(desk.database, [EMAIL], keyring, pulse=lambda _: None, crew=team)

    assert many == verify(desk.database, [EMAIL], keyring, pulse=lambda _: None)
    assert [p.keys for p in many.problems] == [("5", "6", "7", "8", "9")]


@pytest.mark.parametrize("moment", [30, 200])
def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(team, people, keyring, moment):
    killed = []

    def pulse(progress):
        if progress.label == "encrypting person" and progress.done >= moment and not killed:
            killed.extend(workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    done = encrypt(team, pulse=pulse)

    assert killed
    assert done[0].passes == 2
    assert opened_by(keyring, people) == everybody()


def test_workers_that_are_killed_again_and_again_fail_the_step(team, people, keyring):
    def pulse(progress):
        if progress.label == "encrypting person":
            for worker in workers():
                # the pool ends the others as soon as it notices the first death
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    with pytest.raises(StepFailed, match="were killed") as told:
        encrypt(team, pulse=pulse)

    assert "workers: 1" in told.value.hint
    encrypt(team)
    assert opened_by(keyring, people) == everybody()


def test_workers_end_with_the_process_that_started_them(people, keyring, secret, tmp_path):
    child = os.fork()
    if child == 0:
        database = connect(people.url, base=tmp_path)
        team = Team(Place(people.url, tmp_path, (secret,)), Alone(Desk(database, keyring)), many=2)
        encrypt(team, pulse=lambda p: time.sleep(60) if p.label == "encrypting person" else None)
        os._exit(1)
    while not (found := workers(child)) or not people.run("SELECT 1 FROM person WHERE email LIKE 'gAAAA%' LIMIT 1"):
        time.sleep(0.05)

    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    deadline = time.monotonic() + 20
    while any(map(alive, found)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in found if alive(worker)]
    database = connect(people.url, base=tmp_path)
    rewrite.encrypt(
        database, [EMAIL], keyring, operation="enc", fence=2, pulse=lambda _: None, since=time.time()
    )  # fmt: skip
    database.close()
    assert opened_by(keyring, people) == everybody()


def test_a_later_lease_stops_every_worker(team, people, opened):
    late = opened(people)

    def pulse(progress):
        if progress.label == "encrypting person":
            late.claim(2)

    with pytest.raises(LeaseLost):
        encrypt(team, pulse=pulse)

    before = people.run("SELECT id, email FROM person ORDER BY id")
    time.sleep(0.2)
    assert people.run("SELECT id, email FROM person ORDER BY id") == before


def test_stopped_between_slices_it_goes_on_from_each_checkpoint(team, people, keyring):
    class StopError(Exception):
        pass

    def pulse(progress):
        if progress.label == "encrypting person" and progress.done >= 100:
            raise StopError

    with pytest.raises(StopError):
        encrypt(team, pulse=pulse)
    before = dict(people.run("SELECT id, email FROM person WHERE email LIKE 'gAAAA%'"))

    done = encrypt(team, fence=2)

    after = dict(people.run("SELECT id, email FROM person"))
    assert 100 <= len(before) < ROWS
    assert {key: after[key] for key in before} == before
    assert opened_by(keyring, people) == everybody()
    assert done[0].rows == ROWS


def test_what_stops_a_worker_is_told_like_any_other_stop(team, people):
    narrow = EncryptedColumn("person", "email", ("id",), width=100)
    desk = team.alone.desk

    def pulse(progress):
        if progress.label == "encrypting person":
            people.run("UPDATE person SET email = ? WHERE id = 399", "x" * 90)

    people.run("UPDATE person SET email = 'short'")
    with pytest.raises(StepFailed, match=r"person\.email, primary key 399.*holds 100"):
        rewrite.encrypt(
            desk.database, [narrow], desk.keyring, operation="enc", fence=1, pulse=pulse, since=0, crew=team,
            batch=BatchSize(10, most=10),
        )  # fmt: skip


def test_a_database_that_does_not_answer_is_told_as_such(team, people, keyring, tmp_path, secret):
    if people.product == "sqlite":
        pytest.skip("a file always answers")
    nowhere = people.url.rpartition(":")[0] + ":1/site"
    with Team(Place(nowhere, tmp_path, (secret,)), team.alone, many=2) as lost, pytest.raises(ConnectionLost):
        encrypt(lost)


def test_no_worker_shows_a_secret(team, secret):
    seen = []

    def pulse(progress):
        seen.extend(Path(f"/proc/{w}/{kind}").read_bytes() for w in workers() for kind in ("cmdline", "environ"))

    encrypt(team, pulse=pulse)

    assert seen
    assert not [words for words in seen if secret.reveal().encode() in words]


def test_little_work_is_done_without_starting_anything(people, keyring, secret, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "_WORTH_IT", ROWS + 1)
    database = connect(people.url, base=tmp_path)
    seen = []
    with Team(Place(people.url, tmp_path, (secret,)), Alone(Desk(database, keyring)), many=2) as team:
        encrypt(team, pulse=lambda _: seen.extend(workers()))
    database.close()

    assert seen == []
    assert opened_by(keyring, people) == everybody()
