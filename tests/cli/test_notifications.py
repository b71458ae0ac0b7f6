"""Who is elsewhere hears of each turn of a run; a dead address stops nothing and is on record."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from deployguard.journal.events import NotificationFailed
from deployguard.journal.sqlite import SqliteJournal

RUNBOOK = """
version: 1
name: told
environments: {{ production: {{}} }}
notify: [ "${{{{ env.WEBHOOK }}}}" ]
steps:
  - id: work
    run: [sh, -c, "{command}"]
    idempotent: true
    rollback: {{ run: ["true"] }}
"""


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.heard = []
        server.address = f"json://127.0.0.1:{server.server_port}/a-secret-token"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def deploy(tmp_path):
    def run(command, webhook):
        (tmp_path / "runbook.yaml").write_text(RUNBOOK.format(command=command))
        return subprocess.run(
            [sys.executable, "-m", "deployguard", "deploy", "--yes"],
            cwd=tmp_path, env={"PATH": os.environ["PATH"], "WEBHOOK": webhook},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


def titles(hook):
    return [heard["title"].rpartition(": ")[2] for heard in hook.heard]


def test_a_success_is_told_from_start_to_end(hook, deploy):
    assert deploy("true", hook.address).returncode == 0

    assert titles(hook) == ["started", "succeeded"]
    assert "deployguard report production-" in hook.heard[-1]["message"]


def test_a_failure_is_told_with_the_step_and_the_way_back(hook, deploy):
    assert deploy("exit 3", hook.address).returncode == 1

    assert titles(hook) == ["started", "failed", "rolling back", "rolled back"]
    assert "step work" in hook.heard[1]["message"]


WATCH = """
  - id: gate
    uses: {kind}
    with: {given}
"""


@pytest.mark.parametrize(
    ("kind", "given", "code", "told"),
    [
        ("gate.command", '{ command: ["false"] }', 4, ["started", "waiting"]),
        ("monitor", '{ for: 0, conditions: [{ command: { command: ["false"] } }] }', 1,
         ["started", "breached", "rolling back", "rolled back"]),
    ],
)  # fmt: skip
def test_a_wait_and_a_breach_are_told_as_what_they_are(hook, tmp_path, kind, given, code, told):
    text = RUNBOOK.format(command="true") + WATCH.format(kind=kind, given=given)
    (tmp_path / "runbook.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "deployguard", "deploy", "--yes"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "WEBHOOK": hook.address},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, titles(hook)) == (code, told)
    assert "step gate" in hook.heard[1]["message"]


def test_a_dead_address_stops_nothing_and_is_on_record_without_its_token(deploy, tmp_path):
    done = deploy("true", "json://127.0.0.1:1/a-secret-token")

    assert done.returncode == 0
    journal = (tmp_path / ".deployguard/journal.db").read_bytes()
    journal += (
        (tmp_path / ".deployguard/journal.db-wal").read_bytes()
        if (tmp_path / ".deployguard/journal.db-wal").exists()
        else b""
    )
    assert b"NotificationFailed" in journal
    assert b"a-secret-token" not in journal
    assert "a-secret-token" not in done.stdout + done.stderr


def test_no_secret_is_in_any_message(hook, tmp_path):
    secret = "canary-of-the-notifications"
    text = RUNBOOK.format(command="cat rows; echo $KEY; exit 3")
    text = text.replace("notify:", "secrets: { key: { from: env, name: KEY } }\nnotify:")
    text = text.replace("    idempotent: true", '    idempotent: true\n    env: { KEY: "${{ secrets.key }}" }')
    (tmp_path / "runbook.yaml").write_text(text)
    (tmp_path / "rows").write_text("what a user typed\n")
    done = subprocess.run(
        [sys.executable, "-m", "deployguard", "deploy", "--yes"], cwd=tmp_path, capture_output=True, check=False,
        env={"PATH": os.environ["PATH"], "WEBHOOK": hook.address, "KEY": secret},
    )  # fmt: skip

    assert done.returncode == 1
    assert titles(hook) == ["started", "failed", "rolling back", "rolled back"]
    assert secret not in json.dumps(hook.heard)
    assert "what a user typed" not in json.dumps(hook.heard)
    assert all("deployguard" in heard["message"] for heard in hook.heard[1:]), "each says what to run next"


def test_an_address_that_never_answers_stops_nothing_and_each_message_is_on_record(deploy, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        done = deploy("exit 3", f"json://127.0.0.1:{silent.getsockname()[1]}/?rto=600")

    assert done.returncode == 1
    journal = SqliteJournal(tmp_path / ".deployguard/journal.db")
    lost = [r.event.what for r in journal.records() if isinstance(r.event, NotificationFailed)]
    journal.close()
    assert lost == ["started", "failed", "rolling back", "rolled back"]


def test_an_address_that_is_none_is_refused_before_anything_is_done(deploy):
    done = deploy("true", "nonsense://x")

    assert done.returncode == 3
    assert "entry 1 of notify:" in done.stderr
    assert "nonsense" not in done.stdout + done.stderr


def test_no_address_is_nobody_to_tell(deploy):
    assert deploy("true", "").returncode == 0
