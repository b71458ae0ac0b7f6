"""How soon deployguard answers, beside the smallest typer program on the same interpreter.

    python benchmarks/startup.py [RESULT.json]

Medians of interleaved runs, so that a busy moment of the machine meets all alike.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 21
THREE_LINES = "import typer\ndef main(name: str): print(name)\ntyper.run(main)\n"
RUNBOOK = """
version: 1
name: hello
environments:
  staging: { database: "sqlite:///some.db" }
preflight:
  - uses: database.reachable
  - uses: disk.space
    with: { at_least: 1MiB }
steps:
  - id: greet
    run: echo hello
    idempotent: true
"""
DATABASE = "import sqlite3; sqlite3.connect('some.db').execute('CREATE TABLE people (id INTEGER PRIMARY KEY)')"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "three.py").write_text(THREE_LINES)
        (folder / "runbook.yaml").write_text(RUNBOOK)
        subprocess.run([sys.executable, "-c", DATABASE], cwd=folder, check=True)
        commands = {
            "three-line typer --help": [sys.executable, "three.py", "--help"],
            "deployguard --help": [sys.executable, "-m", "deployguard", "--help"],
            "deployguard preflight": [sys.executable, "-m", "deployguard", "preflight", "--env", "staging"],
        }
        seconds = measure(commands, folder)
    peer = seconds["three-line typer --help"]
    print(f"{'command':<26} {'ms':>6} {'ratio':>6}")
    for label, taken in seconds.items():
        print(f"{label:<26} {taken * 1000:6.0f} {taken / peer:6.2f}")
    print("goals: --help at most 1.3 times the peer; preflight under 300 ms on an idle machine")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps({"seconds": seconds}, indent=2) + "\n")


def measure(commands: dict[str, list[str]], folder: Path) -> dict[str, float]:
    taken: dict[str, list[float]] = {label: [] for label in commands}
    for _ in range(ROUNDS):
        for label, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            taken[label].append(time.perf_counter() - begun)
    return {label: statistics.median(times) for label, times in taken.items()}


if __name__ == "__main__":
    main()
