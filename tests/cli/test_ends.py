"""How the program ends."""

import os
import signal

import pytest

from deployguard.cli.app import Commands, main
from deployguard.journal.sqlite import SqliteJournal

RUNBOOK = """\
version: 1
name: shop
environments: { staging: {} }
steps:
  - { id: one, run: "true" }
"""


@pytest.fixture(autouse=True)
def _ctrl_c():
    """As it was, for the tests to come: the program's end ignores it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("where", ["make_context", "invoke"])
def test_ctrl_c_before_or_after_a_command_ends_it_with_the_code_for_that(monkeypatch, capsys, where):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Commands, where, interrupted)
    monkeypatch.setattr("sys.argv", ["deployguard", "preflight"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 7
    assert "interrupted" in capsys.readouterr().err


def test_ctrl_c_when_the_run_has_ended_does_not_change_how(tmp_path, monkeypatch, capsys):
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["deployguard", "deploy", "--yes"])
    close = SqliteJournal.close

    def signalled(journal):
        os.kill(os.getpid(), signal.SIGINT)
        close(journal)

    monkeypatch.setattr(SqliteJournal, "close", signalled)

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.splitlines()[-1].endswith(": succeeded")
