"""How the program ends."""

import signal

import pytest

from deployguard.cli.app import Commands, main


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
