"""How far a backup and a restore are is said for each phase, with what is left of it."""

import os
import random
from dataclasses import replace
from itertools import dropwhile

import pytest

from deployguard.backup.products import product as product_for
from deployguard.backup.restore import beside
from deployguard.backup.take import Order, take
from deployguard.cli.console import describe
from deployguard.steps.backup_create import metered

PHASES = ["counting the rows", "checking the backup", "restoring a copy"]
ROWS = [(n, random.Random(n).randbytes(250).hex()) for n in range(25_000)]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def product(request, home, monkeypatch):
    database = request.getfixturevalue(request.param)
    if request.param == "postgres":
        monkeypatch.setenv("PATH", f"{request.getfixturevalue('postgres_server').programs}:{os.environ['PATH']}")
    database.run("CREATE TABLE person (id int PRIMARY KEY, name text)")
    database.run_many("INSERT INTO person VALUES (?, ?)", ROWS)
    return product_for(database.url, base=home)


def test_each_phase_has_a_label_of_its_own_and_a_total_that_it_does_not_pass(product, store):
    seen = []
    told = replace(store, pulse=lambda *progress: seen.append(progress))

    backup = take(product, told, Order("before", "production", reason="a test"))
    taken, seen[:] = [*seen], []
    with beside(product, backup, told, ()):
        pass

    # where the counting takes longer than the dump it is told too, and the copy's begins anew
    tried = [*dropwhile(lambda progress: progress[0] != "checking the backup", taken)]
    for phase, work in [("writing the backup", taken), *[(p, w) for p in PHASES for w in (tried, seen)]]:
        found = [(done, total) for label, done, total in work if label == phase]
        assert len(found) > 2, phase
        assert [done for done, _ in found] == sorted(done for done, _ in found), phase
        assert all(total is not None and done <= total for done, total in found), phase
        assert found[-1][0] == found[-1][1] > 0, phase


def test_a_phase_that_begins_anew_is_timed_anew(monkeypatch):
    now, shown = [0.0], []
    monkeypatch.setattr("deployguard.steps.backup_create.time.monotonic", lambda: now[0])
    pulse = metered(shown.append)

    for at, done in [(0, 0), (10, 500), (100, 0), (102, 500)]:
        now[0] = at
        pulse("restoring a copy", done, 1000)

    assert [progress.rate for progress in shown] == [None, 50.0, None, 250.0]
    assert describe(shown[-1]) == "restoring a copy  500 of 1,000 bytes  50 %  250 bytes/s  2.0 s left"
