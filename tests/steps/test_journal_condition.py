"""The system's journal, watched through the real journalctl and a real journald: each line counts once."""

import json
import os
import subprocess
import sys

import pytest
from checking import context
from journald import journald_in
from pydantic import ValidationError

from deployguard.steps.conditions import Command, Journal


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    return context(folder)


@pytest.fixture
def journald(site):
    yield from journald_in(site.target.directory / "run")


def web(**more):
    return Journal(**{"directory": "run/log/journal", "matches": ["SYSLOG_IDENTIFIER=web"], "absent": "bad", **more})


def again(site, seen, condition=None):
    """A look by the next process."""
    return (condition or web()).begin(site, json.loads(json.dumps(seen.cursor)))()


def test_the_journal_is_searched_from_now_on(site, journald):
    journald.write("bad, from before")
    look = web().begin(site)
    assert look().ok

    journald.write("fine", "bad")

    assert (look().ok, look().value) == (False, "1 matching lines")


def test_the_next_process_goes_on_where_the_last_one_stopped_and_reads_nothing_twice(site, journald):
    journald.write("bad, from before")
    seen = web().begin(site)()

    for number in range(1, 4):
        journald.write("fine", "bad")
        seen = again(site, seen)
        assert seen.value == f"{number} matching lines"
        assert again(site, seen).value == f"{number} matching lines"


def test_what_is_there_already_counts_where_the_runbook_says_so(site, journald):
    journald.write("bad", "fine")

    assert web(whole=True).begin(site)().value == "1 matching lines"


def test_other_programs_lines_do_not_count(site, journald):
    journald.write("fine")
    look = web().begin(site)
    journald.write("bad", SYSLOG_IDENTIFIER="other")

    assert look().ok
    assert not web(matches=["SYSLOG_IDENTIFIER=web", "SYSLOG_IDENTIFIER=other"], whole=True).begin(site)().ok


def test_a_unit_is_asked_for_as_journalctl_does(site, journald):
    # what systemd itself says of a unit is under its name too
    journald.write("web.service: main process exited, bad", OBJECT_SYSTEMD_UNIT="web.service")

    for unit, said in (("web.service", "1 matching lines"), ("other.service", "the journal holds nothing of it")):
        look = Journal(unit=unit, absent="bad", directory="run/log/journal", whole=True).begin(site)
        assert look().value == said


def test_of_a_message_with_several_lines_each_is_judged_and_any_bytes_can_be_read(site, journald):
    journald.write("fine")
    look = web(absent="^bad").begin(site)

    journald.write("Traceback:\n  in x\nbad\nnot bad", b"\xff\xfe\nbad \xe9\n", "x" * 100_000 + "\nbad", "")

    assert look().value == "3 matching lines"


def test_a_journal_that_is_rotated_between_two_looks_loses_no_line(site, journald):
    journald.write("fine")
    seen = web().begin(site)()
    journald.write("bad 1")
    journald.rotate()
    journald.write("bad 2")
    journald.rotate()
    journald.write("bad 3")

    seen = again(site, seen)

    assert (seen.value, seen.unread) == ("3 matching lines", 0)


def test_entries_that_journald_has_removed_are_said_to_be_gone_once_and_none_that_is_left_is_dropped(site, journald):
    journald.write("fine", "bad, and soon gone")
    seen = web().begin(site)()
    journald.write("bad, and gone")
    journald.rotate()
    journald.vacuum()

    seen = again(site, seen)
    assert (seen.ok, seen.value) == (True, "0 matching lines; a stretch was gone before it could be read")
    assert again(site, seen).unread == 1

    journald.write("bad, the first that is left", "fine")
    seen = again(site, seen)
    assert (seen.value.split(";")[0], seen.unread) == ("1 matching lines", 1)
    journald.rotate()
    journald.vacuum()
    journald.write("bad")
    seen = again(site, seen)
    assert (seen.value.split(";")[0], seen.unread) == ("2 matching lines", 2)


def test_a_share_of_the_lines_may_match(site, journald):
    journald.write("fine")
    rate = web(share="25%", enough=4)
    look = rate.begin(site)

    journald.write("bad", "fine", "fine", "fine")
    assert look().ok
    journald.write("bad", "bad", "fine", "fine")
    assert look().value == "2 of 4 lines match"


def test_a_journal_in_which_there_never_was_anything_of_it_does_not_hold(site, journald):
    misspelled = {"matches": ["SYSLOG_IDENTIFIER=wbe"]}

    seen = web(**misspelled).begin(site)()

    assert (seen.ok, seen.value) == (False, "the journal holds nothing of it")
    assert web(**misspelled, required=False).begin(site)().ok


def test_a_unit_that_writes_for_the_first_time_is_read_from_its_first_line(site, journald):
    optional = web(required=False)
    seen = optional.begin(site)()
    journald.write("bad")

    assert again(site, seen, optional).value == "1 matching lines"


def test_a_journal_that_cannot_be_read_is_a_failed_look_and_no_traceback(site, monkeypatch):
    assert web(directory="nowhere").begin(site)().value.startswith("journalctl: exit status 1 (Failed to open ")
    assert again(site, web(directory="nowhere").begin(site)()).ok is False
    monkeypatch.setenv("PATH", str(site.target.directory))
    assert "journalctl cannot be started: not found" in web().begin(site)().value


@pytest.mark.parametrize(
    ("script", "said"),
    [("exec sleep 30", "was not done in 0.3 s"), ("printf '{\"__CU'; exec sleep 30", "was not done in 0.3 s"),
     ("echo nonsense", "no entry"), ("echo '[]'", "no entry")],
)  # fmt: skip
def test_a_journalctl_that_does_not_do_its_work(site, monkeypatch, script, said):
    program = site.target.directory / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{site.target.directory}:{os.environ['PATH']}")

    # one that only sleeps is given up soon; one that writes has the time that a busy machine takes for it
    seen = web(timeout="300ms" if "sleep" in script else "1m").begin(site)()

    assert not seen.ok
    assert said in seen.value


def test_a_journal_that_can_be_read_again_is_read_from_then_on(site, journald):
    journald.write("bad, from before")
    hidden = journald.files.with_name("hidden")
    journald.files.rename(hidden)
    look = web().begin(site)
    assert not look().ok
    hidden.rename(journald.files)

    assert look().ok
    journald.write("bad")
    assert look().value == "1 matching lines"


@pytest.mark.parametrize("given", [
    {"unit": "--flush"}, {"unit": "a b"}, {"unit": ""}, {"matches": ["web"]}, {"matches": ["/bin/sh"]},
    {"matches": ["+"]}, {"absent": None}, {"absent": "("}, {"timeout": 0}, {"nonsense": 1},
])  # fmt: skip
def test_what_journalctl_would_take_for_something_else_is_refused(given):
    with pytest.raises(ValidationError):
        web(**given)


def test_what_a_journal_condition_is_called():
    assert Journal(unit="web.service", matches=["PRIORITY=3"], absent="bad").name() == (
        "journal web.service PRIORITY=3 without bad"
    )


def test_journalctl_as_a_command_is_searched_too(site, journald):
    journald.write("fine", "bad")
    line = "journalctl", "--directory=run/log/journal", "--output=cat", "--since=-10min"

    assert Command(command=line, absent="^bad").begin(site)().value == "1 matching lines"
    assert Command(command=line, absent="InvalidToken").begin(site)().ok


RUNBOOK = """
version: 1
name: watched
environments: { production: { on_failure: stop } }
steps:
  - id: monitor
    uses: monitor
    with:
      for: 1h
      every: 10ms
      visits: true
      conditions:
        - journal: { directory: run/log/journal, matches: [SYSLOG_IDENTIFIER=web], absent: bad }
"""


def test_visits_and_kills_make_one_watch_of_the_journal(site, journald):
    folder = site.target.directory
    (folder / "runbook.yaml").write_text(RUNBOOK)
    journald.write("bad, from before")

    def deployguard(*arguments, kill_after=None):
        with subprocess.Popen(
            [sys.executable, "-m", "deployguard", *arguments, "--json"], cwd=folder, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]},
        ) as process:  # fmt: skip
            try:
                out, _ = process.communicate(timeout=kill_after)
            except subprocess.TimeoutExpired:
                process.kill()
                return None, None
        return process.returncode, json.loads(out)

    code, _ = deployguard("deploy", "--yes")
    for number in range(8):
        assert code in {None, 4}
        journald.write("fine")
        code, _ = deployguard("watch", "--once", kill_after=0.2 + number / 10)
    journald.write("bad")
    deployguard("watch", "--once", kill_after=0.4)
    deployguard("watch", "--once")
    _, seen = deployguard("show")

    assert seen["state"] == "failed"
    assert "without bad: 1 matching lines" in seen["steps"][0]["summary"]
