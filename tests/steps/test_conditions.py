"""What can be watched, each tried on the real thing: a file, a pages, a database, a process."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from checking import context
from pydantic import ValidationError

from deployguard.errors import StepFailed, Waiting
from deployguard.steps.conditions import Command, Disk, Http, Log, Metric, OneCondition, Process, Sql
from deployguard.steps.conditions.base import holds
from deployguard.steps.conditions.http import percentile
from deployguard.steps.gate_command import GateCommand
from deployguard.steps.gate_http import GateHttp
from deployguard.steps.gate_metric import GateMetric
from deployguard.steps.gate_sql import GateSql
from deployguard.steps.http_baseline import HttpBaseline
from deployguard.steps.log import Log as LogCheck


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "site.db")) as connection:
        connection.executescript("CREATE TABLE jobs (id INTEGER PRIMARY KEY); INSERT INTO jobs VALUES (1), (2)")
    return context(folder, url=f"sqlite:///{folder}/site.db")


def log_of(site):
    return site.target.directory / "app.log"


def write(path, text):
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def test_a_log_is_searched_from_now_on(site):
    write(log_of(site), "InvalidToken of yesterday\n")
    look = Log(file="app.log", absent="InvalidToken").begin(site)
    assert look().ok

    write(log_of(site), "fine\nInvalidToken\n")

    assert (look().ok, look().value) == (False, "1 matching lines")


def test_a_line_is_judged_when_it_has_its_end(site):
    look = Log(file="app.log", absent="InvalidToken", whole=True).begin(site)
    write(log_of(site), "Invalid")
    assert look().ok
    write(log_of(site), "Token")
    assert look().ok

    write(log_of(site), "\n")

    assert not look().ok


def test_the_next_process_goes_on_where_the_last_one_stopped(site):
    condition = Log(file="app.log", absent="InvalidToken")
    write(log_of(site), "before\n")
    cursor = condition.begin(site)().cursor
    write(log_of(site), "InvalidToken\n")

    seen = condition.begin(site, json.loads(json.dumps(cursor)))()

    assert seen.value == "1 matching lines"


def test_a_log_of_any_bytes_can_be_read(site):
    look = Log(file="app.log", present="hello").begin(site)
    log_of(site).write_bytes(b"\xff\xfe\x00\n" + b"x" * 3_000_000 + b"\nhello \xe9\n")

    assert look().ok


def test_a_missing_log_is_a_failure_unless_it_need_not_be_there(site):
    assert not Log(file="app.log", absent="x").begin(site)().ok
    assert Log(file="app.log", absent="x", required=False).begin(site)().ok


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"status": 500}, "status 500, not 200"),
        ({"body": b"sorry"}, "the body lacks the expected text"),
        ({"status": 302}, "status 302, not 200"),
    ],
)
def test_a_page_that_answers_wrongly(pages, site, told, said):
    pages.told = told

    seen = Http(url=pages.url, contains="well").begin(site)()

    assert (seen.ok, seen.value) == (False, said)


def test_a_page_that_does_not_answer_is_given_up_in_time(pages, site):
    pages.told = {"seconds": 60}
    begun = time.monotonic()

    seen = Http(url=pages.url, timeout="200ms").begin(site)()

    assert not seen.ok
    assert time.monotonic() - begun < 30
    assert not Http(url="http://127.0.0.1:1/").begin(site)().ok


def test_a_page_is_compared_with_what_it_was_before(pages, site):
    before = HttpBaseline(url=pages.url, samples=5, pause=0).execute(site).outputs["p95"]
    # the machine may be busy: what is slow is told by what was measured, not by the clock on the wall
    pages.told = {"seconds": 1.3 * float(before.removesuffix("ms")) / 1000}
    look = Http(url=pages.url, p95=f"< 1.2 * {before}", enough=3).begin(site)

    assert [look().ok for _ in range(3)] == [True, True, False]
    assert "p95" in look().value


def test_a_page_that_is_no_slower_than_it_may_be_is_fine(pages, site):
    before = HttpBaseline(url=pages.url, samples=5, pause=0).execute(site).outputs["p95"]
    look = Http(url=pages.url, p95=f"< 9000 * {before}", enough=3).begin(site)

    assert [look().ok for _ in range(4)] == [True] * 4


def test_response_times_of_the_process_before_count(pages, site):
    page = Http(url=pages.url, p95="< 50ms", enough=5)
    pages.told = {"seconds": 0.06}
    look = page.begin(site)
    cursor = [look() for _ in range(4)][-1].cursor

    assert not page.begin(site, cursor)().ok


@pytest.mark.parametrize(("limit", "slow"), [("p50", 3), ("p95", 1), ("p99", 1)])
def test_a_page_is_too_slow_by_each_percentile(pages, site, limit, slow):
    times = [10.0] * (4 - slow) + [9000.0] * slow
    look = Http(url=pages.url, enough=5, **{limit: "< 5s"}).begin(site, {"ms": times})
    fine = Http(url=pages.url, enough=5, **{limit: "< 5s"}).begin(site, {"ms": [10.0] * (5 - slow)})

    assert look().value.startswith(f"{limit} 9000 ms is not below")
    assert fine().ok


def test_a_baseline_is_not_taken_of_a_broken_page(pages, site):
    pages.told = {"status": 500}

    with pytest.raises(StepFailed, match="status 500"):
        HttpBaseline(url=pages.url, samples=3).execute(site)


def test_a_limit_in_words_is_refused_with_where_a_baseline_comes_from():
    with pytest.raises(ValidationError, match=r"http\.baseline"):
        Http(url="http://x", p95="< 1.2 * baseline")


@pytest.mark.parametrize(
    "address", ["example.org/health", "ftp://x", "http://", "http://x:0", "http://x:y", "http://["]
)
@pytest.mark.parametrize("kind", [Http, HttpBaseline, GateMetric])
def test_an_address_that_is_none_is_refused_before_anything_runs(kind, address):
    key = {"prometheus": address, "query": "up", "expect": 1} if kind is GateMetric else {"url": address}
    with pytest.raises(ValidationError, match="write http://host/"):
        kind(**key)


def test_percentiles_are_nearest_ranks():
    times = [float(n) for n in range(1, 101)]

    assert [percentile(times, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert percentile([7.0], 0.95) == 7.0


def test_a_number_in_the_database(site):
    assert Sql(query="select count(*) from jobs", expect=2).begin(site)().ok
    assert Sql(query="select count(*) from jobs", expect="< 2").begin(site)().value == "2, wanted < 2"
    assert not Sql(query="select nonsense from nowhere").begin(site)().ok


def test_a_query_cannot_write(site):
    Sql(query="delete from jobs returning id").begin(site)()

    assert Sql(query="select count(*) from jobs", expect=2).begin(site)().ok


def test_a_command_and_what_it_prints(site):
    assert Command(command=["true"]).begin(site)().ok
    assert Command(command=["sh", "-c", "exit 3"]).begin(site)().value == "exit status 3"
    assert not Command(command=["echo", "InvalidToken"], absent="Invalid").begin(site)().ok


@pytest.mark.parametrize("place", ["first", "last"])
def test_every_line_that_a_command_prints_is_looked_at(site, place):
    much = "seq 1 200000"
    script = f"echo InvalidToken; {much}" if place == "first" else f"{much}; printf InvalidToken"

    seen = Command(command=["sh", "-c", script], absent="^InvalidToken").begin(site)()

    assert (seen.ok, seen.value) == (False, "1 matching lines")
    assert Command(command=["sh", "-c", much], absent="^InvalidToken").begin(site)().ok


@pytest.mark.parametrize(
    ("values", "ok"), [([0.01], True), ([0.01, 0.02], True), ([0.01, 3], False), ([], False), (["NaN"], False)]
)
def test_every_series_of_a_metric_must_be_as_expected(pages, site, values, ok):
    pages.told = {"values": values}

    assert Metric(prometheus=pages.url, query="rate(x[5m])", expect="< 0.1").begin(site)().ok is ok
    assert pages.asked == "rate(x[5m])"


def test_a_prometheus_that_is_none(pages, site):
    pages.told = {"body": b"<html>", "values": []}
    assert "no instant vector" in Metric(prometheus=f"{pages.url}/x", query="up", expect=1).begin(site)().value
    assert "did not answer" in Metric(prometheus="http://127.0.0.1:1", query="up", expect=1).begin(site)().value


def test_free_space(site):
    assert Disk(free="1MiB").begin(site)().ok
    assert not Disk(free="1000000 TiB").begin(site)().ok


@pytest.mark.parametrize(
    ("limit", "used", "hours", "ok"),
    [
        ({"growth": "10MiB"}, 9, 1, True),
        ({"growth": "10MiB"}, 11, 1, False),
        ({"hourly": "10MiB"}, 19, 2, True),
        ({"hourly": "10MiB"}, 21, 2, False),
        ({"hourly": "10MiB"}, 5, 0.05, True),
    ],
)
def test_how_much_and_how_fast_a_disk_may_be_used(site, monkeypatch, limit, used, hours, ok):
    # the disk of a test machine is not ours to fill: what it says is given here
    usage, left = shutil.disk_usage(site.target.directory), [2**30]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left[0]))
    clock = site.target.clock
    first = Disk(free=1, **limit).begin(site)().cursor

    left[0] -= used * 2**20
    later = clock.now() + timedelta(hours=hours)
    monkeypatch.setattr(type(clock), "now", lambda _: later)

    assert Disk(free=1, **limit).begin(site, json.loads(json.dumps(first)))().ok is ok


def test_what_cannot_be_looked_at_is_a_failed_look_and_no_traceback(site):
    assert "cannot be looked at" in Disk(path="nowhere", free=1).begin(site)().value
    assert "cannot be read" in Log(file=".", absent="x", whole=True).begin(site)().value


@pytest.mark.parametrize(("errors", "ok"), [(2, True), (3, False)])
def test_a_share_of_the_new_lines_may_be_errors(site, errors, ok):
    log_of(site).write_text("before: error\n" * 50)
    rate = Log(file="app.log", absent="error", share="1%", enough=200)
    look = rate.begin(site)
    write(log_of(site), "fine\n" * 100 + "error\n" * errors)
    seen = look()
    assert (seen.ok, seen.value) == (True, f"{errors} of {100 + errors} lines match, too few to judge")

    write(log_of(site), "fine\n" * (100 - errors))
    seen = rate.begin(site, json.loads(json.dumps(seen.cursor)))()

    assert (seen.ok, seen.value) == (ok, f"{errors} of 200 lines match")


def test_a_judged_share_is_not_judged_again(site):
    log_of(site).write_text("")
    look = Log(file="app.log", absent="error", share="1%", enough=10).begin(site)
    write(log_of(site), "error\n" * 10)
    assert not look().ok

    write(log_of(site), "fine\n" * 10)

    assert look().ok


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValidationError, match="needs absent"):
        Log(file="app.log", share=0.1, present="x")


@pytest.mark.parametrize("given", [{}, {"present": "x", "absent": "y"}])
def test_a_log_without_one_pattern_is_refused(given):
    with pytest.raises(ValidationError, match="absent: or present:"):
        Log(file="app.log", **given)


def test_a_check_of_a_log_looks_at_all_of_it(site):
    write(log_of(site), "InvalidToken\n")

    assert LogCheck(file="app.log", absent="InvalidToken").execute(site).status == "fail"
    assert LogCheck(file="app.log", present="InvalidToken").execute(site).status == "pass"


def test_a_programs_memory_and_processor_time(site):
    name = f"deployguard-test-{os.getpid()}"
    busy = f"import sys; keep = b'x' * 80_000_000\nprint('up', flush=True)\nwhile True: pass  # {name}"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            assert Process(program=name).begin(site)().ok
            assert "too much memory" in Process(program=name, memory="50MiB").begin(site)().value
            look = Process(program=name, cpu=0.05).begin(site)
            until = time.monotonic() + 30  # others may have the processors for a while
            while "too much processor time" not in (seen := look()).value:
                assert time.monotonic() < until, seen.value
                time.sleep(0.1)
        finally:
            process.kill()

    assert "not running" in Process(program=name).begin(site)().value


def test_a_condition_is_exactly_one():
    for given in [{}, {"disk": {"free": 1}, "sql": {"query": "x"}}]:
        with pytest.raises(ValidationError, match="a condition is one of"):
            OneCondition.model_validate(given)


@pytest.mark.parametrize(
    ("value", "expected", "result"),
    [(1, 1, True), (1, "1", True), (1, "< 1", False), (1, "<= 1", True), (-2, "> -3", True), (0, "!= 0", False)],
)
def test_comparisons(value, expected, result):
    assert holds(value, expected) is result


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        (GateSql(query="select count(*) from jobs", expect=2), GateSql(query="select count(*) from jobs", expect=0)),
        (GateCommand(command=["true"]), GateCommand(command=["false"])),
    ],
)
def test_a_gate_lets_through_or_waits_or_fails(site, opened, closed):
    assert opened.execute(site).status == "pass"
    with pytest.raises(Waiting):
        closed.execute(site)
    with pytest.raises(StepFailed):
        closed.model_copy(update={"otherwise": "fail"}).execute(site)


def test_a_gate_opens_while_it_is_looked_at(pages, site):
    pages.told = {"status": 503}
    threading.Timer(0.5, pages.told.update, [{"status": 200}]).start()

    assert GateHttp(url=pages.url, within="1m").execute(site).status == "pass"


def test_a_gate_on_a_metric(pages, site):
    pages.told = {"values": [0]}
    assert GateMetric(prometheus=pages.url, query="x", expect=0).execute(site).evidence == {"value": "0, wanted 0"}
