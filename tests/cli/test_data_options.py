"""`deployguard data encrypt|decrypt|rotate`: what is said on the command line is what the step is told."""

import pytest
from typer.testing import CliRunner

from deployguard.cli import by_hand
from deployguard.cli.data import app


@pytest.mark.parametrize("verb", ["encrypt", "decrypt", "rotate"])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], {}),
        (["--full-speed"], {"others_first": False}),
        (["--workers", "3", "--limit", "5"], {"workers": 3, "limit": 5}),
        (["--where", "person.id <= 7"], {"where": ["person.id <= 7"]}),
    ],
)
def test_each_option_reaches_the_step_and_what_was_not_said_is_left_to_it(monkeypatch, verb, said, told):
    runs = []
    monkeypatch.setattr(by_hand, "run_by_hand", lambda _, __, verb, how, **___: runs.append((verb, how)))

    found = CliRunner().invoke(app, [verb, *said])

    assert found.exit_code == 0, found.output
    assert runs == [(verb, told)]
