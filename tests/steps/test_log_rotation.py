"""Logs that are rotated, packed, shortened and thrown away between two looks: each line counts once, or is missed aloud."""

import json
import logging.handlers
import random
import subprocess
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
from checking import context

from deployguard.clock import SystemClock
from deployguard.steps.conditions import Log
from deployguard.steps.monitor import Monitor


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def site(folder):
    return context(folder)


BAD = Log(file="app.log", absent="bad")


def again(site, seen, condition=BAD):
    """A look by the next process."""
    return condition.begin(site, json.loads(json.dumps(seen.cursor)))()


def append(path, text):
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


# -- as logrotate and Python do


class Rotated:
    """A log under rotation; `turn` rotates it once more, each way as its program does."""

    def __init__(self, folder, *, copy=False, pack=None, late=False, dated=False, inner=False):
        self.path, self.folder = folder / "app.log", folder
        self.copy, self.pack, self.late, self.dated, self.inner = copy, pack, late, dated, inner
        self.turns = 0

    def named(self, number):
        label = f"202611{number:02}" if self.dated else str(number)
        return self.folder / (f"app-{label}.log" if self.inner else f"app.log{'-' if self.dated else '.'}{label}")

    def turn(self):
        self.turns += 1
        if self.dated:
            newest = self.named(self.turns)
        else:
            newest = self.named(1)
            for number in range(self.turns, 0, -1):
                for packed in ("", self.pack or ""):
                    old = self.named(number).with_name(self.named(number).name + packed)
                    if old.exists():
                        old.rename(self.named(number + 1).with_name(self.named(number + 1).name + packed))
        if self.copy:
            subprocess.run(["cp", self.path, newest], check=True)
            self.path.write_text("")
        elif self.path.exists():
            self.path.rename(newest)
        if self.pack:
            self.packed(self.named(self.turns - 1 if self.dated else 2) if self.late else newest)

    def packed(self, path):
        if path.exists():
            program = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"}[self.pack]
            subprocess.run([program, path], check=True)


WAYS = {
    "renamed": {},
    "renamed by date": {"dated": True},
    "renamed by date before the suffix": {"dated": True, "inner": True},
    "packed": {"pack": ".gz"},
    "packed by date": {"pack": ".gz", "dated": True, "inner": True},
    "packed later": {"pack": ".gz", "late": True},
    "packed otherwise": {"pack": ".xz"},
    "copied and shortened": {"copy": True},
    "copied, shortened and packed": {"copy": True, "pack": ".bz2"},
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("way", WAYS)
def test_each_line_counts_once_however_often_the_log_is_rotated(folder, site, way, seed):
    chance, log = random.Random(seed), Rotated(folder, **WAYS[way])
    append(log.path, "bad, from before\n")
    log.turn()
    append(log.path, "the first line of the day\n")
    seen, written = BAD.begin(site)(), 0

    for number in range(25):
        for _ in range(chance.randrange(4)):
            append(log.path, f"{number} {chance.random()} bad\n")
            written += 1
        if log.path.exists() and chance.random() < 0.5:
            log.turn()
        if chance.random() < 0.3:
            append(log.path, f"fine {chance.random()}\n")
            seen = again(site, seen)
    append(log.path, "the end\n")
    seen = again(site, seen)

    assert (seen.cursor["seen"], seen.unread) == (written, 0)


def test_no_line_is_lost_to_a_log_that_is_rotated_while_it_is_read(folder, site):
    handler = logging.handlers.RotatingFileHandler(folder / "app.log", maxBytes=300, backupCount=300)
    over, seen = threading.Event(), BAD.begin(site)()

    def write():
        with closing(handler):
            for number in range(3000):
                handler.emit(logging.makeLogRecord({"msg": f"bad {number}"}))
        over.set()

    threading.Thread(target=write).start()
    looks = 0
    while not over.is_set():
        seen, looks = again(site, seen), looks + 1
    seen = again(site, seen)

    assert looks > 5
    assert (seen.cursor["seen"], seen.unread) == (3000, 0)


def test_who_has_not_opened_the_new_log_yet_is_still_read(folder, site):
    log = folder / "app.log"
    with log.open("a") as former:
        former.write("fine\n")
        former.flush()
        seen = BAD.begin(site)()
        log.rename(folder / "app.log.1")
        log.write_text("new\n")
        former.write("bad, and ")
        former.flush()
        seen = again(site, seen)
        assert seen.cursor["seen"] == 0
        former.write("late\nbad without an end")

    assert again(site, seen).cursor["seen"] == 2


def test_a_log_that_is_rotated_and_not_begun_anew_is_read_to_its_end(folder, site):
    optional = Log(file="app.log", absent="bad", required=False)
    append(folder / "app.log", "fine\n")
    seen = optional.begin(site)()
    append(folder / "app.log", "bad\n")
    (folder / "app.log").rename(folder / "app.log.1")

    seen = again(site, seen, optional)
    assert (seen.ok, seen.value) == (False, "1 matching lines")
    assert again(site, seen, optional).value == "1 matching lines"

    append(folder / "app.log", "bad\n")
    assert again(site, seen, optional).value == "2 matching lines"


def test_a_log_that_comes_later_is_read_whole_and_what_was_rotated_before_is_not(folder, site):
    append(folder / "app.log.1", "bad, from before\n")
    optional = Log(file="app.log", absent="bad", required=False)
    seen = optional.begin(site)()

    append(folder / "app.log", "bad\n")

    assert again(site, seen, optional).value == "1 matching lines"


def test_a_log_that_a_link_leads_to_counts_once(folder, site):
    append(folder / "app-20261101.log", "fine\n")
    (folder / "app.log").symlink_to("app-20261101.log")
    seen = BAD.begin(site)()
    append(folder / "app-20261101.log", "bad\n")
    append(folder / "app-20261102.log", "bad\n")
    (folder / "app.log").unlink()
    (folder / "app.log").symlink_to("app-20261102.log")

    assert again(site, seen).value == "2 matching lines"


def test_a_log_that_is_copied_over_anew_goes_on_where_it_was(folder, site):
    append(folder / "app.log", "bad, from before\nfine\n")
    seen = BAD.begin(site)()
    (folder / ".new").write_text("bad, from before\nfine\nbad\n")
    (folder / ".new").rename(folder / "app.log")

    assert again(site, seen).value == "1 matching lines"


def test_other_logs_beside_it_are_not_read(folder, site):
    append(folder / "app.log", "fine\n")
    seen = BAD.begin(site)()
    (folder / "app.log").rename(folder / "app.log.1")
    append(folder / "app.log", "fine\n")
    for name in ("app.log.errors", "app-errors.log", "app.log.txt", "application.log.1", "app2.log"):
        append(folder / name, "bad\n")

    assert again(site, seen).ok


# -- what is gone is missed aloud


def gone(folder, way):
    log = folder / "app.log"
    append(log, "bad\n")
    if way == "shortened in place":
        log.write_text("")
    elif way == "thrown away":
        log.rename(folder / "app.log.1")
        (folder / "app.log.1").unlink()
    elif way == "packed badly":
        log.rename(folder / "app.log.1")
        subprocess.run(["gzip", "--force", folder / "app.log.1"], check=True)
        packed = folder / "app.log.1.gz"
        packed.write_bytes(packed.read_bytes()[:-12])
    else:
        log.rename(folder / "app.log.1")
        (folder / "app.log.1.zst").write_bytes(b"\x28\xb5\x2f\xfd")
        (folder / "app.log.1").unlink()
    append(log, f"the next one, at {time.time_ns()}\n")


GONE = ["shortened in place", "thrown away", "packed badly", "packed in a way that is not read here"]


@pytest.mark.parametrize("way", GONE)
def test_lines_that_are_gone_are_said_to_be_once(folder, site, way):
    append(folder / "app.log", "fine, and long enough to be known again\n")
    seen = BAD.begin(site)()
    gone(folder, way)

    seen = again(site, seen)
    assert (seen.ok, seen.value) == (True, "0 matching lines; a stretch was gone before it could be read")
    assert again(site, seen).unread == 1
    gone(folder, way)
    assert again(site, seen).value == "0 matching lines; 2 stretches were gone before it could be read"


class OnlyAsleep(SystemClock):
    """Time passes only while somebody sleeps: a watch of two looks has two, however busy the machine is."""

    def __init__(self):
        self.passed = 0.0

    def monotonic(self):
        return self.passed

    def sleep(self, seconds):
        self.passed += seconds


def test_a_watch_that_could_not_read_all_ends_with_a_warning(folder, site):
    site = replace(site, target=replace(site.target, clock=OnlyAsleep()))
    append(folder / "app.log", "fine\n")
    monitor = Monitor.model_validate(
        {"for": "50ms", "every": "50ms", "conditions": [{"log": {"file": "app.log", "absent": "bad"}}]}
    )
    looks = iter([lambda: gone(folder, "thrown away"), lambda: None])
    object.__setattr__(site, "sample", lambda *_, **__: next(looks)())

    outcome = monitor.execute(site)

    assert outcome.status == "warn"
    assert "gone in part before it could be read: log app.log without bad" in outcome.summary
    assert outcome.evidence["conditions"][0]["unread"] == 1
