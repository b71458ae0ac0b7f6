"""`database.quiet`: what a migration would wait for is found on real servers."""

import threading
import time
from dataclasses import replace

import pytest
from checking import context
from pydantic import ValidationError
from servers import MariaPrimary, PostgresServer

from deployguard.steps.database_quiet import DatabaseQuiet


@pytest.fixture
def check(tmp_path):
    def check(url, **settings):
        return DatabaseQuiet(**settings).execute(context(tmp_path, url=url))

    return check


@pytest.fixture
def others():
    """Further sessions of the application, closed at the end whatever they are waiting for."""
    opened = []

    def others(store):
        opened.append(store.another())
        return opened[-1]

    yield others
    for each in opened:
        each.close()


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    store = request.getfixturevalue(request.param)
    engine = " ENGINE=InnoDB" if store.product == "mariadb" else ""
    store.run(f"CREATE TABLE person (id int PRIMARY KEY, name varchar(20)){engine}")
    store.run("INSERT INTO person VALUES (1, 'Ann')")
    return store


def eventually(outcome, what):
    deadline = time.monotonic() + 20
    while what not in (seen := outcome()).summary:
        assert time.monotonic() < deadline, seen.summary
        time.sleep(0.1)
    return seen


def test_a_server_with_nobody_on_it_is_quiet(check, server):
    outcome = check(server.url)

    assert outcome.status == "pass"
    assert outcome.evidence["figures"]["connections_left"] > 5


def test_a_transaction_that_stays_open_is_a_fault(check, server, others):
    other = others(server)
    other.run("BEGIN")
    other.run("UPDATE person SET name = 'Bob'")

    outcome = eventually(lambda: check(server.url, transactions="1s"), "a transaction has been open for")

    assert outcome.status == "fail"
    assert "end it: SELECT" in outcome.hint
    assert check(server.url, transactions="1h").status == "pass"


def test_a_session_that_waits_for_a_lock_is_a_fault(check, server, others):
    holder, waiter = others(server), others(server)
    for each in (holder, waiter):
        each.run("BEGIN")
    holder.run("UPDATE person SET name = 'Bob'")
    waiting = threading.Thread(target=waiter.run, args=["UPDATE person SET name = 'Eve'"])
    waiting.start()

    outcome = eventually(lambda: check(server.url), "1 sessions wait for a lock")

    holder.run("ROLLBACK")
    waiting.join()
    assert outcome.status == "fail"


def test_a_waiting_change_of_a_table_is_seen_too(check, server, others):
    holder, waiter = others(server), others(server)
    holder.run("BEGIN")
    holder.run("SELECT * FROM person")
    waiting = threading.Thread(target=waiter.run, args=["ALTER TABLE person ADD COLUMN age int"])
    waiting.start()

    outcome = eventually(lambda: check(server.url), "wait for a lock")

    holder.run("ROLLBACK")
    waiting.join()
    assert outcome.status == "fail"


def test_too_few_connections_are_a_fault(check, server):
    outcome = check(server.url, connections=100_000)

    assert outcome.status == "fail"
    assert "connections are left, 100000 are wanted" in outcome.summary


def test_sessions_that_postgresql_hides_from_this_user_are_said(check, postgres, postgres_server):
    postgres.run("CREATE ROLE modest LOGIN")
    url = postgres.url.replace("postgres@", "modest@")
    try:
        outcome = check(url)

        assert outcome.status == "warn"
        assert "sessions of other users cannot be seen" in outcome.summary
        assert "pg_read_all_stats" in outcome.hint
    finally:
        postgres.run("DROP ROLE modest")


def test_figures_that_mariadb_hides_from_this_user_are_said(check, mariadb):
    mariadb.run("CREATE USER modest@'%'")
    mariadb.run("GRANT SELECT ON *.* TO modest@'%'")
    try:
        outcome = check(mariadb.url.replace("root@", "modest@"))

        assert outcome.status == "warn"
        assert "may not see: oldest transaction" in outcome.summary
        assert "GRANT PROCESS" in outcome.hint
    finally:
        mariadb.run("DROP USER modest@'%'")


def test_a_file_has_no_sessions(check, sqlite):
    assert "no sessions" in check(sqlite.url).summary


def test_looking_changes_nothing_and_leaves_no_session(check, postgres):
    # an autovacuum worker looks in now and then
    clients = "datname = current_database() AND backend_type = 'client backend'"
    before = postgres.run(f"SELECT count(*) FROM pg_stat_activity WHERE {clients}")

    check(postgres.url)

    deadline = time.monotonic() + 20
    while postgres.run(f"SELECT count(*) FROM pg_stat_activity WHERE {clients}") != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("settings", [{"transactions": 0}, {"waiting": -1}, {"lag": "late"}, {"connections": "many"}])
def test_limits_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        DatabaseQuiet(**settings)


@pytest.mark.parametrize(("product", "name"), [(PostgresServer, "postgres"), (MariaPrimary, "mysql")])
def test_replicas_that_the_runbook_names_are_asked(tmp_path, product, name):
    primary = product()
    copy = primary.replica()
    try:
        found = context(tmp_path, url=primary.url(name))

        def named(url, **settings):
            return DatabaseQuiet(**settings).execute(replace(found, target=replace(found.target, replicas=(url,))))

        assert eventually(lambda: named(copy.url(name)), "nobody waits").status == "pass"
        assert named(primary.url(name)).summary == "replica 1 replicates nothing"
        if product is PostgresServer:
            copy.run("SELECT pg_wal_replay_pause()")
            primary.run("CREATE TABLE later (id int)")
            assert eventually(lambda: named(copy.url(name), lag="1s"), "replica 1 is").status == "fail"
        copy.stop()
        seen = named(copy.url(name))
        assert seen.status == "fail"
        assert "replica 1 cannot be asked: " in seen.summary
    finally:
        copy.stop()
        primary.stop()


def test_a_replica_that_does_not_keep_up_is_a_fault(check):
    primary = PostgresServer()
    copy = primary.replica()
    try:
        url = primary.url("postgres")
        eventually(lambda: check(url), "nobody waits")
        copy.run("SELECT pg_wal_replay_pause()")
        primary.run("CREATE TABLE later (id int)")

        outcome = eventually(lambda: check(url, lag="1s"), "a replica is")

        assert outcome.status == "fail"
        assert "caught up" in outcome.hint
        copy.run("SELECT pg_wal_replay_resume()")
        assert eventually(lambda: check(url, lag="1s"), "nobody waits").status == "pass"
    finally:
        copy.stop()
        primary.stop()
