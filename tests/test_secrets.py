"""No secret in any argument list, log, journal, report or terminal, however a step prints it.

Steps are given canaries the ways the runbook allows, and say them in every spelling that is
promised to be masked. Afterwards every byte that the run left is searched for any part of them.
"""

import base64
import html
import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "cnryT0k3n-e5Yw/8Pq+Zx'\"$\\%&<ü>=qMv7 tail_R4hD"
# as a key's file looks, but no part of it as in any other: somebody on the machine may show a certificate to all
LINES = [
    "----cnry BEGIN CANARY----",
    "cnryW8tKq2Lz0VbXh5RmPd7sYj3GfNc9",
    "Uo4EaTiQ6wHnBkC1xMvZrSg8cnryLine3",
    "----cnry END CANARY----",
]
PEM = "\n".join(LINES)
JOURNAL_KEY = "cnryJ0urnalK3y-Hs72bQp91LkZz"
WINDOW = 12
"""Characters of a canary that are a leak when they are seen together."""

LEAK = """\
import base64, html, json, os, shlex, sys
from pathlib import Path
from urllib.parse import quote, quote_plus

def spellings(text):
    raw = text.encode()
    yield from (text, repr(text), ascii(text), repr(raw), json.dumps(text), json.dumps(text, ensure_ascii=False))
    yield from (shlex.quote(text), html.escape(text), quote(text), quote(text, safe=""), quote_plus(text))
    yield from (raw.hex(), raw.hex().upper(), base64.b32encode(raw).decode())
    for before in (b"", b"u", b"us"):
        yield from (base64.b64encode(before + raw).decode(), base64.urlsafe_b64encode(before + raw).decode())
        yield base64.encodebytes(before + raw).decode()

token, pem = os.environ["TOKEN"], Path(os.environ["PEM"]).read_text()
for stream in (sys.stdout, sys.stderr):
    for text in (token, pem, *pem.splitlines()[1:3]):
        for spelling in spellings(text):
            print("said", spelling, "end", file=stream, flush=True)
    for byte in token.encode():
        stream.buffer.write(bytes([byte]))
        stream.buffer.flush()
    for edge in (4096, 8192, 65536, 131072):
        for into in (1, 7, len(token) - 1):
            stream.write("." * (edge - into) + token + "\\n")
    stream.flush()
if "DEPLOYGUARD_OUTPUT" in os.environ:
    Path(os.environ["DEPLOYGUARD_OUTPUT"]).write_text(f"found={token}\\n")
print("last words", token, pem.splitlines()[1], token.encode().hex())
sys.exit(int(sys.argv[1]))
"""

RUNBOOK = """\
version: 1
name: canaries
secrets:
  token: { from: env, name: CANARY_TOKEN }
  pem: { from: file, path: canary.pem }
environments: { staging: {} }
steps:
  - id: says
    run: [PYTHON, leak.py, "0"]
    outputs: [found]
    env: { TOKEN: "${{ secrets.token }}" }
    files: { PEM: "${{ secrets.pem }}" }
    idempotent: true
    rollback:
      run: [PYTHON, leak.py, "0"]
      env: { TOKEN: "${{ secrets.token }}", PEM: canary.pem }
  - id: hears
    run: [echo, "${{ steps.says.outputs.found }}"]
    idempotent: true
  - id: fails
    run: [PYTHON, leak.py, "3"]
    env: { TOKEN: "${{ secrets.token }}" }
    files: { PEM: "${{ secrets.pem }}" }
    idempotent: true
    retry: { attempts: 2, delay: 0.1s }
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "runbook.yaml").write_text(RUNBOOK.replace("PYTHON", sys.executable))
    (tmp_path / "leak.py").write_text(LEAK)
    pem = tmp_path / "canary.pem"
    pem.touch(0o600)
    pem.write_text(PEM + "\n")
    return tmp_path


def deployguard(project, *arguments, terminal=False):
    """What it says, on a terminal or not."""
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "TERM": "xterm",
        "CANARY_TOKEN": TOKEN, "DEPLOYGUARD_JOURNAL_KEY": JOURNAL_KEY,
    }  # fmt: skip
    reader, writer = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "deployguard", *arguments], cwd=project, env=env,
        stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
    )  # fmt: skip
    os.close(writer)
    said = b"".join(iter(lambda: read_or_end(reader), b""))
    os.close(reader)
    return process.wait(), said


def read_or_end(reader):
    try:
        return os.read(reader, 65536)
    except OSError:  # how a terminal ends
        return b""


@pytest.mark.parametrize("terminal", [False, True], ids=["to a pipe", "to a terminal"])
def test_no_canary_is_in_anything_that_a_run_leaves_or_says(project, terminal):
    with Onlooker() as onlooker:
        code, said = deployguard(project, "deploy", "--env", "staging", "--yes", terminal=terminal)
        for asking in ("show", "show --json", "runs --inspect", "report", "plan --env staging --json"):
            said += deployguard(project, *asking.split(), terminal=terminal)[1]

    left = [p for p in project.rglob("*") if p.is_file() and p.name != "canary.pem"]
    assert code == 1, said.decode()
    assert b"last words ***" in said
    assert any(p.suffix == ".log" for p in left)
    assert any(p.suffix == ".html" for p in left)
    assert leaks(said) == set()
    assert {p.name: found for p in left if (found := leaks(p.read_bytes()))} == {}
    assert any(b"leak.py" in line for line in onlooker.seen)
    assert {line for line in onlooker.seen if leaks(line)} == set()


def test_the_search_finds_each_spelling(project):
    """The test above is worth something only if this one holds: unmasked, the same program leaks."""
    env = {"TOKEN": TOKEN, "PEM": str(project / "canary.pem")}

    said = subprocess.run(
        [sys.executable, "leak.py", "0"], cwd=project, env=env, capture_output=True, check=True
    ).stdout

    lines = [line for line in said.split(b"\n") if line.startswith(b"said ")]
    assert len(lines) > 80
    assert [line for line in lines if not leaks(line)] == []


def leaks(data):
    """Parts of canaries that are in it, in any spelling."""
    return {part for part in PARTS if part in data}


def _parts():
    for text in (TOKEN, JOURNAL_KEY, PEM, *LINES[1:3]):
        raw = text.encode()
        spelled = [
            raw, json.dumps(text).encode(), repr(text).encode(), repr(raw).encode(), html.escape(text).encode(),
            quote(text).encode(), quote(text, safe="").encode(), quote_plus(text).encode(), raw.hex().encode(),
            raw.hex().upper().encode(), base64.b32encode(raw).rstrip(b"="),
        ]  # fmt: skip
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spelled += [encode(b"\0" * offset + raw)[4:-4] for offset in range(3)]
        for spelling in spelled:
            yield from (spelling[at : at + WINDOW] for at in range(len(spelling) - WINDOW + 1))


PARTS = frozenset(_parts())


class Onlooker:
    """Somebody on the same machine who reads every process's argument list, all the time."""

    def __init__(self):
        self.seen = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        while not self._over.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(process.read_bytes())
                except OSError:
                    continue
            time.sleep(0.002)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
