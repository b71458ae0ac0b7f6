"""Start deployguard many times at the same instant, and again for each line on stdin.

    python starters.py COUNT ARGUMENT…

The program is imported once and forked, so that a round takes milliseconds, not the seconds
of as many interpreters. After each round one line of JSON: [{pid, exit_code, said}, …].
The file `enough`, for which the winner's step may wait, is made once all others have ended.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

# imported before the fork: what every command needs
from deployguard.cli import console, project, running  # noqa: F401
from deployguard.cli.app import main

PATIENCE = 60.0


def start(gate, argv, said):
    """A child that begins when the gate is closed."""
    pid = os.fork()
    if pid:
        return pid
    os.close(gate[1])
    for number in (1, 2):
        os.dup2(said.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
    sys.argv = ["deployguard", *argv]
    os.read(gate[0], 1)
    exit_code = 99
    try:
        main()
    except SystemExit as end:
        exit_code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


def a_round(count, argv):
    gate = os.pipe()
    outputs = [tempfile.TemporaryFile() for _ in range(count)]  # noqa: SIM115 - closed below
    waiting = {start(gate, argv, said): said for said in outputs}
    for end in gate:
        os.close(end)
    results, until = [], time.monotonic() + PATIENCE
    while waiting:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            with waiting.pop(pid) as said:
                said.seek(0)
                text = said.read().decode()
            results.append({"pid": pid, "exit_code": os.waitstatus_to_exitcode(status), "said": text})
        elif time.monotonic() > until:
            Path("enough").touch()
        else:
            time.sleep(0.002)
        if len(waiting) == 1:
            Path("enough").touch()
    Path("enough").unlink()
    return results


for _ in sys.stdin:
    print(json.dumps(a_round(int(sys.argv[1]), sys.argv[2:])), flush=True)
