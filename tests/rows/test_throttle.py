"""Row work waits while others suffer: replicas, queues for locks, the machine."""

import shutil
import time
from functools import partial
from threading import Thread

import pytest
from servers import MariaPrimary, PostgresServer

from deployguard.databases import connect
from deployguard.databases.server_disk import room_of
from deployguard.databases.url import parse_url
from deployguard.rows import throttle as module
from deployguard.rows.progress import Progress
from deployguard.rows.throttle import Limits, Throttle

SOME = Progress("encrypting person", 10, 100, 5.0, 10)


@pytest.fixture(autouse=True)
def looks_always(monkeypatch):
    monkeypatch.setattr(module, "_EVERY", 0.0)


@pytest.fixture(scope="module", params=[PostgresServer, MariaPrimary])
def pair(request):
    """A server and one that copies it."""
    primary = request.param()
    copy = primary.replica()
    yield primary, copy
    copy.stop()
    primary.stop()


@pytest.fixture
def throttle(pair, tmp_path):
    primary, copy = pair
    with_name = {PostgresServer: "postgres"}.get(type(primary), "mysql")
    made = []

    def throttle(limits, *, replicas=True):
        opened = [partial(connect, server.url(with_name), base=tmp_path, read_only=True) for server in (primary, copy)]
        made.append(Throttle(limits, opened[0], opened[1:] if replicas else ()))
        return made[-1]

    yield throttle
    for each in made:
        each.close()


def hold_back(copy):
    copy.run("SELECT pg_wal_replay_pause()" if isinstance(copy, PostgresServer) else "STOP SLAVE SQL_THREAD")


def let_go(copy):
    copy.run("SELECT pg_wal_replay_resume()" if isinstance(copy, PostgresServer) else "START SLAVE SQL_THREAD")


def write(primary):
    primary.run("CREATE TABLE IF NOT EXISTS busy (n int)" if isinstance(primary, PostgresServer) else "CREATE TABLE IF NOT EXISTS mysql.busy (n int)")  # fmt: skip
    primary.run("INSERT INTO busy VALUES (1)" if isinstance(primary, PostgresServer) else "INSERT INTO mysql.busy VALUES (1)")  # fmt: skip


def eventually(asked, wanted):
    deadline = time.monotonic() + 30
    while not wanted(found := asked()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_a_replica_that_keeps_up_holds_nothing_back(pair, throttle):
    write(pair[0])

    eventually(throttle(Limits(lag=5.0)).why, lambda why: why == "")


def test_a_replica_that_falls_behind_holds_the_work_until_it_has_caught_up(pair, throttle):
    primary, copy = pair
    held, seen = throttle(Limits(lag=0.5)), []
    eventually(held.why, lambda why: why == "")
    hold_back(copy)
    write(primary)
    eventually(held.why, lambda why: "replica" in why)

    def pulse(progress):
        seen.append(progress)
        if len(seen) == 5:
            let_go(copy)
            write(primary)

    held.over(pulse)(SOME)

    assert seen[0] == SOME
    assert all("replica" in progress.note for progress in seen[1:])
    assert len(seen) >= 5


def test_the_primary_of_postgresql_tells_of_replicas_that_nobody_named(pair, throttle):
    primary, copy = pair
    if not isinstance(primary, PostgresServer):
        pytest.skip("MariaDB knows it only on the replica")
    held = throttle(Limits(lag=0.3), replicas=False)
    hold_back(copy)
    write(primary)
    try:
        assert eventually(held.why, lambda why: "a replica is" in why)
    finally:
        let_go(copy)


def test_a_server_that_copies_nobody_is_no_replica(pair, tmp_path):
    primary, _ = pair
    database = connect(primary.url("postgres" if isinstance(primary, PostgresServer) else "mysql"), base=tmp_path)

    assert database.lag() is None
    database.close()


def test_a_replica_that_does_not_answer_holds_the_work(pair, throttle, tmp_path):
    held = throttle(Limits(lag=3600.0), replicas=False)
    held.replicas = [partial(connect, "postgresql://postgres@127.0.0.1:1/postgres", base=tmp_path, read_only=True)]

    assert held.why() == "waits: replica 1 does not answer"


def test_sessions_that_wait_for_locks_hold_the_work(store, tmp_path):
    if store.product == "sqlite":
        pytest.skip("a file has no sessions to ask about")
    engine = " ENGINE=InnoDB" if store.product == "mariadb" else ""
    store.run(f"CREATE TABLE person (id int PRIMARY KEY, name varchar(20)){engine}")
    store.run("INSERT INTO person VALUES (1, 'Ann')")
    holder, waiter = store.another(), store.another()
    holder.run("BEGIN")
    holder.run("UPDATE person SET name = 'held'")
    held = Throttle(Limits(waiting=0), partial(connect, store.url, base=tmp_path, read_only=True))
    queue = Thread(target=waiter.run, args=("UPDATE person SET name = 'waits'",))
    queue.start()

    assert eventually(held.why, bool) == "waits: 1 sessions wait for locks"

    holder.run("COMMIT")
    queue.join(30)
    assert eventually(held.why, lambda why: not why) == ""
    held.close()
    for each in (holder, waiter):
        each.close()


def test_a_busy_machine_holds_the_work_where_that_is_wanted(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "getloadavg", lambda: (30.0, 0.0, 0.0))
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    opened = partial(connect, store.url, base=tmp_path, read_only=True)

    busy, calm = Throttle(Limits(load=4.0), opened), Throttle(Limits(), opened)

    assert busy.why() == "waits: the load of this machine is 15.0 a core"
    assert calm.why() == ""
    busy.close()
    calm.close()


def test_a_stop_is_heard_while_work_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(Throttle, "why", lambda _: "waits: a replica is 99 s behind")
    seen = []

    def pulse(progress):
        seen.append(progress.note)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Throttle(Limits(), lambda: None).over(pulse)(SOME)

    assert seen == ["", *["waits: a replica is 99 s behind"] * 2]


def test_a_disk_that_fills_up_holds_the_work_until_somebody_makes_room(store, tmp_path, monkeypatch):
    url, left = store.url, [90 * 2**20, 90 * 2**20, 300 * 2**20]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left[0] if len(left) == 1 else left.pop(0)))
    opened = partial(connect, url, base=tmp_path, read_only=True)
    held, seen = Throttle(Limits(free=100 * 2**20), opened, room=partial(room_of, host=parse_url(url).host)), []

    held.over(seen.append)(SOME)

    assert [p.note for p in seen] == ["", *["waits: 90 MiB are free where the database is; make room"] * 2]
    held.close()


def test_a_disk_that_nobody_can_see_holds_nothing_back(store, tmp_path):
    opened = partial(connect, store.url, base=tmp_path, read_only=True)
    held = Throttle(Limits(free=2**60), opened, room=lambda _: None)

    assert held.why() == ""
    held.close()
