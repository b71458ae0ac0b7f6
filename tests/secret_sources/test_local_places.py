"""Secrets of this machine are taken only from where nobody else can have put or seen them."""

import os
import subprocess
import sys
import threading

import pytest
from looking import descriptors

from deployguard.errors import Refused
from deployguard.secret_sources import SOURCES
from deployguard.secret_sources.dotenv import Dotenv
from deployguard.secret_sources.environment import Environment
from deployguard.secret_sources.file import File

VALUE = "the-value-that-nobody-may-see"


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(VALUE + "\n")
    path.chmod(0o600)
    return path


def refusal(source, base):
    with pytest.raises(Refused) as caught:
        source.fetch("field_key", base=base)
    assert caught.value.hint
    assert VALUE not in caught.value.message + caught.value.hint
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.message


def test_a_file_of_the_owner_alone_is_read_from_the_runbooks_folder(key_file, tmp_path):
    secret = File(path="key").fetch("field_key", base=tmp_path)

    assert (secret.reveal(), secret.name) == (VALUE, "field_key")
    assert File(path=str(key_file)).fetch("field_key", base=tmp_path) == secret
    assert File(path="key").describe() == "file key"


@pytest.mark.parametrize(("ending", "kept"), [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n"), (" ", " ")])
def test_one_line_break_at_the_end_is_not_the_secrets(key_file, tmp_path, ending, kept):
    key_file.write_bytes((VALUE + ending).encode())

    assert File(path="key").fetch("k", base=tmp_path).reveal() == VALUE + kept


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)


def folder(path):
    path.unlink()
    path.mkdir()


SPOILED = {
    "a symbolic link": (link, "cannot be opened by user"),
    "a pipe that nobody writes to": (pipe, "is not a regular file"),
    "a folder": (folder, "is not a regular file"),
    "absent": (lambda p: p.unlink(), "No such file"),
    "a second name": (lambda p: p.with_name("b").hardlink_to(p), "has 2 names"),
    "readable by all": (lambda p: p.chmod(0o644), "open to others (mode 0644)"),
    "readable by the group": (lambda p: p.chmod(0o640), "open to others (mode 0640)"),
    "too large": (lambda p: p.write_text(VALUE * 3000), "larger than 65536 bytes"),
    "not text": (lambda p: p.write_bytes(VALUE.encode() + b"\xff"), "is not text"),
    "a byte order mark": (lambda p: p.write_bytes(b"\xef\xbb\xbf" + VALUE.encode()), "byte order mark"),
    "empty": (lambda p: p.write_text("\n"), "is empty"),
    "an open folder": (lambda p: p.parent.chmod(0o777), "folder that anybody may write to"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_others_had_a_hand_in_is_refused(key_file, tmp_path, name):
    spoil, message = SPOILED[name]
    spoil(key_file)

    assert message in refusal(File(path="key"), tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(key_file, tmp_path):
    os.chown(key_file, 12345, -1)

    assert "belongs to another user" in refusal(File(path="key"), tmp_path)


def test_a_file_exchanged_at_any_moment_never_gives_the_wrong_content(key_file, tmp_path):
    """The two are swapped as fast as can be; what is read is the good one, or nothing."""
    bad, stop = tmp_path / "bad", threading.Event()

    def swap():
        while not stop.is_set():
            bad.write_text("planted")
            bad.chmod(0o644)
            bad.replace(key_file)
            good = tmp_path / "good"
            good.touch(0o600)
            good.write_text(VALUE)
            good.replace(key_file)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = {"refused": 0, VALUE: 0}
    try:
        for _ in range(10_000):
            try:
                seen[File(path="key").fetch("k", base=tmp_path).reveal()] += 1
            except Refused:
                seen["refused"] += 1
    finally:
        stop.set()
        swapper.join()

    assert min(seen.values()) > 0


def test_no_descriptor_stays_open(key_file, tmp_path):
    before = descriptors()
    File(path="key").fetch("k", base=tmp_path)
    key_file.chmod(0o644)
    refusal(File(path="key"), tmp_path)

    # what earlier tests have left may be closed meanwhile
    assert descriptors() - before == set()


def test_a_variable_is_given_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("FIELD_KEY", f" {VALUE}\n")

    assert Environment(name="FIELD_KEY").fetch("k", base=tmp_path).reveal() == f" {VALUE}\n"
    assert Environment(name="FIELD_KEY").describe() == "environment variable FIELD_KEY"
    assert Environment(name="FIELD_KEY").version("k", base=tmp_path) == ""


@pytest.mark.parametrize(("value", "message"), [(None, "FIELD_KEY (secret field_key) is not set"), ("", "is empty")])
def test_a_variable_that_is_not_set_is_named(monkeypatch, tmp_path, value, message):
    monkeypatch.delenv("FIELD_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("FIELD_KEY", value)

    assert message in refusal(Environment(name="FIELD_KEY"), tmp_path)


@pytest.fixture
def dotenv(tmp_path):
    def write(text):
        (tmp_path / ".env").write_bytes(text.encode())
        (tmp_path / ".env").chmod(0o600)
        return Dotenv(name="KEY")

    return write


@pytest.mark.parametrize(
    "line",
    [
        f"KEY={VALUE}", f"export KEY={VALUE}", f"KEY='{VALUE}'", f'KEY="{VALUE}"', f" KEY = {VALUE} ",
        f"# KEY=old\nOTHER_KEY=b\nKEY_2=c\n\nKEY={VALUE}\nLAST='d'", f"A=1\r\nKEY={VALUE}\r\nB=2",
    ],
)  # fmt: skip
def test_a_name_in_a_dotenv_file_has_its_value(dotenv, tmp_path, line):
    assert dotenv(line).fetch("k", base=tmp_path).reveal() == VALUE


def test_single_quotes_keep_everything(dotenv, tmp_path):
    assert dotenv("KEY='a $b #c \"d'").fetch("k", base=tmp_path).reveal() == 'a $b #c "d'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is there 0 times"),
        (f"KEY={VALUE}\nKEY={VALUE}", "is there 2 times"),
        ("KEY=", "is empty"),
        *[(f"KEY={v}", "read differently") for v in (
            f"{VALUE} # note", f"{VALUE}#x", "${OTHER}", f'"{VALUE}', f"'{VALUE}' x", f'"{VALUE}\\n"', f"`{VALUE}`",
            f'"$({VALUE})"', "'it\\'s'",
        )],
    ],
)  # fmt: skip
def test_what_programs_read_differently_is_refused(dotenv, tmp_path, text, message):
    assert message in refusal(dotenv(text), tmp_path)


def test_a_dotenv_file_is_opened_as_carefully_as_any(dotenv, tmp_path):
    source = dotenv(f"KEY={VALUE}")
    (tmp_path / ".env").chmod(0o644)

    assert "open to others" in refusal(source, tmp_path)


def test_a_json_field_can_be_picked(monkeypatch, tmp_path):
    monkeypatch.setenv("BUNDLE", f'{{"user": "app", "key": "{VALUE}"}}')

    assert Environment(name="BUNDLE", field="key").fetch("k", base=tmp_path).reveal() == VALUE


@pytest.mark.parametrize(
    "text",
    [VALUE, f'["{VALUE}"]', f'{{"other": "{VALUE}"}}', '{"key": 5}', '{"key": null}', "[" * 60_000,
     f'{{"key": "{VALUE}", "key": "other"}}', '{"key": ""}'],
)  # fmt: skip
def test_a_field_that_is_not_there_is_named_and_nothing_of_the_rest(monkeypatch, tmp_path, text):
    monkeypatch.setenv("BUNDLE", text)

    message = refusal(Environment(name="BUNDLE", field="key"), tmp_path)

    assert "BUNDLE" in message
    assert "other" not in message


def test_no_source_loads_its_client_before_it_is_asked(tmp_path):
    clients = "hvac boto3 botocore azure.identity google.cloud.secretmanager kubernetes keyring requests sh"
    script = f"import sys, deployguard.secret_sources; print([m for m in {clients.split()} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_every_source_stands_under_its_own_name():
    assert all(name == source.source and source.__doc__ for name, source in SOURCES.items())
