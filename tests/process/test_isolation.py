import json
import os
import threading
import time
from pathlib import Path

from looking import CANARY

from deployguard.process import base_environment
from deployguard.secret import Secret


def test_what_reads_input_finds_its_end_at_once(shell):
    result = shell("cat; read answer || echo no input")

    assert (result.exit, result.tail) == (0, "no input")


def test_a_password_prompt_finds_no_terminal(python):
    result = python(
        "import getpass, os\n"
        "try: os.open('/dev/tty', os.O_RDWR); print('terminal')\n"
        "except OSError as error: print('no terminal')\n"
        "print(os.getsid(0) == os.getpid() == os.getpgid(0))\n"
    )

    assert result.tail == "no terminal\nTrue"


def test_it_inherits_no_descriptor(python, tmp_path):
    with (tmp_path / "lock").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        result = python("import os, json; print(json.dumps([os.readlink(f'/proc/self/fd/{n}') for n in range(3)]))\n"
                        "print([n for n in os.listdir('/proc/self/fd') if int(n) > 2][1:])")  # fmt: skip

    streams, others = result.tail.splitlines()
    stdin, stdout, stderr = json.loads(streams)
    assert stdin == "/dev/null"
    assert stdout == stderr
    assert stdout.startswith("pipe:")
    assert others == "[]"  # but for the one that lists them


def test_no_command_line_shows_a_secret_while_it_runs(shell):
    hits, looked, over = [], [0], threading.Event()

    def look() -> None:
        while not over.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        hits.extend([entry.name] * (CANARY.encode() in (entry / "cmdline").read_bytes()))
                    except OSError:
                        continue
            looked[0] += 1
            time.sleep(0.001)

    watcher = threading.Thread(target=look)
    watcher.start()
    env = {**base_environment(), "TOKEN": Secret(CANARY, name="token")}
    results = []
    while len(results) < 20 or looked[0] <= 20:  # on a machine with many processes a look takes long
        results.append(shell('printf "%s" "$TOKEN" | wc -c; echo "$TOKEN"; sleep 0.02', env=env))
    over.set()
    watcher.join()

    assert hits == []
    assert {r.tail.split()[-1] for r in results} == {"***"}
    assert {r.tail.split()[0] for r in results} == {str(len(CANARY))}
