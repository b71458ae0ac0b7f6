"""Any manager that has a command is a source; what it prints is taken, what it complains of is not repeated."""

import pytest

from deployguard.errors import Refused
from deployguard.secret_sources.command import Command

VALUE = "the-value-that-nobody-may-see"


def sh(script, **given):
    return Command(command=["sh", "-c", script], **given)


def refusal(source, base):
    with pytest.raises(Refused) as caught:
        source.fetch("field_key", base=base)
    assert VALUE not in caught.value.message + caught.value.hint
    return caught.value.message


def test_what_a_command_prints_is_the_secret(tmp_path):
    secret = Command(command=["printf", "%s\\n", VALUE]).fetch("k", base=tmp_path)

    assert secret.reveal() == VALUE


def test_it_runs_in_the_runbooks_folder_without_a_shell(tmp_path):
    (tmp_path / "k").write_text("$HOME;`id`\n")

    assert Command(command=["cat", "k"]).fetch("k", base=tmp_path).reveal() == "$HOME;`id`"


def test_it_gets_only_the_variables_it_is_said_to_need(tmp_path, monkeypatch):
    monkeypatch.setenv("MANAGER_TOKEN", "token-1")
    monkeypatch.setenv("OTHER_TOKEN", "token-2")

    given = sh('echo "$MANAGER_TOKEN-$OTHER_TOKEN"', env=["MANAGER_TOKEN"]).fetch("k", base=tmp_path).reveal()

    assert given == "token-1-"


def test_a_failure_names_the_user_and_missing_variables_and_repeats_no_output(tmp_path, monkeypatch):
    monkeypatch.delenv("MANAGER_TOKEN", raising=False)

    message = refusal(sh(f"echo {VALUE}; echo no: {VALUE} >&2; exit 7", env=["MANAGER_TOKEN"]), tmp_path)

    assert "command sh (secret field_key) ended with exit status 7 as user " in message
    assert "without MANAGER_TOKEN, not set here" in message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Command(command=["no-such-manager"]), "no-such-manager cannot be started: not found"),
        (sh("sleep 60", timeout=0.3), "was not done in 0.3 s"),
        (sh("true"), "is empty"),
        (sh("head -c 70000 /dev/zero"), "larger than 65536 bytes"),
        (sh("printf 'a\\377'"), "is not text"),
        (sh("kill -KILL $$"), "exit status -9"),
    ],
)
def test_what_is_no_secret_is_refused(tmp_path, source, message):
    assert message in refusal(source, tmp_path)


def test_a_field_of_its_json_can_be_picked(tmp_path):
    printed = Command(command=["printf", "%s", f'{{"key": "{VALUE}"}}'], field="key")

    assert printed.fetch("k", base=tmp_path).reveal() == VALUE
