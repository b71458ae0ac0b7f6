"""How fast rows are encrypted, as ratios within one run: our way, Django's, and the database alone.

    python benchmarks/rows.py [--rows 300000] [--sample 2000] [--databases sqlite,postgres,mariadb]

A table like the sample site's Profile, six text columns of about 22 bytes. Every measurement runs
in a process of its own, on a fresh copy of the same rows:

- django loop: `for p in Profile.objects.all(): p.save()` on a sample of the rows, with an encrypted field
- database alone: one UPDATE that writes tokens which lie ready in another table
- encrypt: `deployguard.rows.rewrite.encrypt` as a run calls it, by as many processes as there are cores: their
  start, the reading before the first write, and the pass that proves there is nothing left, included
- verify: every token opened and checked; plain read: the driver hands over the same bytes
- others: 95th percentile of one user's update of one row, idle and during encrypt; and what encrypt does beside them
- peak: memory above start of the process that leads; worker: all that the largest of its workers has

With `--growth` only encrypt, at several sizes: the rate must not fall as a table grows. Prints a table
and writes .benchmarks/rows.json.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import pytest  # noqa: E402
from cryptography.fernet import Fernet  # noqa: E402
from servers import MariaServer, PostgresServer, Store, sqlite_store, with_fetched_programs  # noqa: E402

from deployguard.databases import connect  # noqa: E402
from deployguard.databases.base import RowTable  # noqa: E402
from deployguard.keys.keyring import Keyring  # noqa: E402
from deployguard.rows import rewrite  # noqa: E402
from deployguard.rows.crew import Alone, Desk, Place, Team  # noqa: E402
from deployguard.rows.target import EncryptedColumn  # noqa: E402
from deployguard.rows.verify import verify  # noqa: E402
from deployguard.secret import Secret  # noqa: E402

COLUMNS = ("first_name", "last_name", "email", "discord", "slack", "github")
TARGETS = tuple(EncryptedColumn("profile", column, ("id",)) for column in COLUMNS)
KEY = Fernet.generate_key().decode()
BESIDE = 20.0
"""Seconds in which the other user writes."""
GOALS = {"sqlite": (25, 0.22), "postgres": (30, 0.30), "mariadb": (12, 0.25)}


def keyring():
    return Keyring(Secret(KEY, name="key"))


def in_child(work):
    """Run `work` in a process of its own: what it returns, its seconds, and its memory above start in MiB."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            Path("/proc/self/clear_refs").write_text("5", "utf-8")
            before, began = memory("VmRSS"), time.perf_counter()
            found = work()
            seconds = time.perf_counter() - began
            os.write(write, json.dumps([found, seconds, (memory("VmHWM") - before) / 1024]).encode())
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("a measurement failed")
    return json.loads(text)


def memory(field):
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def fill(store, rows):
    store.run("DROP TABLE IF EXISTS profile")
    for trace in ("fence", "checkpoint", "kept"):
        store.run(f"DROP TABLE IF EXISTS deployguard_{trace}")
    columns = ", ".join(f"{c} VARCHAR(500)" for c in COLUMNS)
    store.run(f"CREATE TABLE profile (id INTEGER PRIMARY KEY, {columns}, points INTEGER NOT NULL DEFAULT 0)")
    marks = ", ".join("?" * (len(COLUMNS) + 1))
    store.run_many(
        f"INSERT INTO profile (id, {', '.join(COLUMNS)}) VALUES ({marks})",
        [(n, *(f"{c} {n} of the sample"[:22] for c in COLUMNS)) for n in range(min(rows, 5000))],
    )
    there = 5000
    while there < rows:
        names, more = f"id, {', '.join(COLUMNS)}", f"id + {there}, {', '.join(COLUMNS)}"
        store.run(f"INSERT INTO profile ({names}) SELECT {more} FROM profile WHERE id < {rows - there}")
        there *= 2
    if store.product == "postgresql":
        store.run("VACUUM ANALYZE profile")
        # or what one measurement has left in the buffers is written while the next one goes on
        store.run("CHECKPOINT")


def database_alone(store, rows):
    """Seconds that the server needs to write tokens that lie ready beside the table."""
    fill(store, rows)
    store.run("DROP TABLE IF EXISTS ready")
    store.run(f"CREATE TABLE ready (id INTEGER PRIMARY KEY, {', '.join(f'{c} VARCHAR(500)' for c in COLUMNS)})")
    token = keyring().seal(b"x" * 22).decode()
    store.run(f"INSERT INTO ready SELECT id, {', '.join(['?'] * len(COLUMNS))} FROM profile", *([token] * len(COLUMNS)))
    put = ", ".join(f"{c} = r.{c}" for c in COLUMNS)
    statement = f"UPDATE profile SET {put} FROM ready r WHERE r.id = profile.id"
    if store.product == "mariadb":
        put = ", ".join(f"p.{c} = r.{c}" for c in COLUMNS)
        statement = f"UPDATE ready r STRAIGHT_JOIN profile p ON r.id = p.id SET {put}"
    began = time.perf_counter()
    store.run(statement)
    seconds = time.perf_counter() - began
    store.run("DROP TABLE ready")
    return seconds


def settings_of(store):
    from urllib.parse import urlsplit

    if store.product == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": store.url.removeprefix("sqlite:///")}
    parts = urlsplit(store.url)
    engine = "postgresql" if store.product == "postgresql" else "mysql"
    return {
        "ENGINE": f"django.db.backends.{engine}", "NAME": parts.path[1:], "HOST": parts.hostname, "PORT": parts.port,
        "USER": parts.username,
    }  # fmt: skip


def django_loop(store):
    import django
    import pymysql
    from django.conf import settings
    from django.db import models

    pymysql.install_as_MySQLdb()
    settings.configure(DATABASES={"default": settings_of(store)}, INSTALLED_APPS=[], FIELD_ENCRYPTION_KEY=KEY)
    django.setup()
    from encrypted_model_fields.fields import EncryptedCharField

    fields = {c: EncryptedCharField(max_length=500) for c in COLUMNS}
    meta = type("Meta", (), {"app_label": "bench", "db_table": "profile"})
    names = {"__module__": "bench", "Meta": meta, "id": models.IntegerField(primary_key=True), **fields}
    profiles = type("Profile", (models.Model,), names).objects
    began = time.perf_counter()
    for profile in profiles.all():
        profile.save()
    return time.perf_counter() - began


@contextmanager
def team(store, *, read_only=False):
    """A connection, and the processes that a step would have."""
    keys = (Secret(KEY, name="key"),)
    database = connect(store.url, base=ROOT, read_only=read_only)
    with Team(Place(store.url, ROOT, keys, read_only), Alone(Desk(database, keyring()))) as crew:
        yield database, crew
    database.close()


def encrypt(store):
    with team(store) as (database, crew):
        rewrite.encrypt(
            database, TARGETS, keyring(), operation="bench", fence=1, pulse=lambda _: None, since=0, crew=crew
        )
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def check(store):
    with team(store, read_only=True) as (database, crew):
        found = verify(database, TARGETS, keyring(), pulse=lambda _: None, crew=crew)
    if not found.ok or any(column.primary != column.rows for column in found.columns):
        raise SystemExit("not every value was encrypted")


def plain_read(store):
    database, table, after = connect(store.url, base=ROOT, read_only=True), RowTable("profile", ("id",), COLUMNS), None
    while page := database.page(table, after, 2000):
        after = page[-1].key
    database.close()


def others(store, rows, seconds):
    """Latencies of one user's small updates, in milliseconds: the 95th percentile."""
    user, found, until = store.another(), [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        user.run("UPDATE profile SET points = points + 1 WHERE id = ?", random.randrange(rows))
        found.append(time.perf_counter() - began)
        time.sleep(0.005)
    return sorted(found)[int(len(found) * 0.95)] * 1000


def others_during(store, rows):
    """Idle and during encrypt; and how many rows a second are encrypted beside them."""
    fill(store, rows)
    idle = in_child(lambda: others(store, rows, BESIDE))[0]
    worker = os.fork()
    if worker == 0:
        try:
            encrypt(store)
        finally:
            os._exit(0)
    busy = in_child(lambda: others(store, rows, BESIDE))[0]
    # from its own records: once nobody writes any more, it goes on at full speed
    done = store.another().run("SELECT sum(changed) FROM deployguard_checkpoint")[0][0] or 0
    os.waitpid(worker, 0)
    return idle, busy, int(done) / BESIDE


def measure(store, rows, sample):
    fill(store, sample)
    loop = sample / in_child(lambda: django_loop(store))[0]
    alone = rows / database_alone(store, rows)
    fill(store, 100)
    small = in_child(lambda: encrypt(store))[1]
    fill(store, rows)
    worker, seconds, peak = in_child(lambda: encrypt(store))
    _, checking, _ = in_child(lambda: check(store))
    _, reading, _ = in_child(lambda: plain_read(store))
    idle, busy, beside = others_during(store, rows)
    return {
        "django_loop": loop, "database_alone": alone, "encrypt": rows / seconds, "verify": rows / checking,
        "plain_read": rows / reading, "encrypt_over_django": rows / seconds / loop,
        "encrypt_over_alone": rows / seconds / alone, "verify_over_read": reading / checking, "peak_mib": peak,
        "worker_mib": worker, "small_seconds": small, "others_idle_ms": idle, "others_busy_ms": busy,
        "encrypt_beside_others": beside,
    }  # fmt: skip


def growth(products, sizes):
    """The rate at each size, and the memory: neither depends on it."""
    found = {}
    for product in products:
        with fresh(product) as store:
            for size in sizes:
                fill(store, size)
                worker, seconds, peak = in_child(lambda: encrypt(store))
                rate = size / seconds
                found.setdefault(product, {})[size] = {"encrypt": rate, "peak_mib": peak, "worker_mib": worker}
                print(
                    f"{product:10} {size:>10,} rows  {rate:>10,.0f} rows/s  {peak:6.1f} MiB  worker {worker:6.1f} MiB"
                )
    write("growth", found)


def write(name, found):
    target = ROOT / ".benchmarks" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


@contextmanager
def fresh(product):
    with tempfile.TemporaryDirectory() as folder:
        if product == "sqlite":
            store = sqlite_store(Path(folder))
            yield store
            store.close()
            return
        server = PostgresServer() if product == "postgres" else MariaServer()
        try:
            server.run("CREATE DATABASE bench")
            kind = "postgresql" if product == "postgres" else "mariadb"
            store = Store(kind, server.url("bench"), lambda: server.connect("bench"))
            yield store
            store.close()
        finally:
            server.stop()


LINES = {
    "django_loop": "{:,.0f} rows/s", "database_alone": "{:,.0f} rows/s", "encrypt": "{:,.0f} rows/s",
    "verify": "{:,.0f} rows/s", "plain_read": "{:,.0f} rows/s", "encrypt_over_django": "{:.1f} x",
    "encrypt_over_alone": "{:.3f} x", "verify_over_read": "{:.3f} x", "peak_mib": "{:.1f} MiB",
    "worker_mib": "{:.1f} MiB",
    "small_seconds": "{:.3f} s", "others_idle_ms": "{:.2f} ms", "others_busy_ms": "{:.2f} ms",
    "encrypt_beside_others": "{:,.0f} rows/s",
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--sample", type=int, default=2000)
    parser.add_argument("--databases", default="sqlite,postgres,mariadb")
    parser.add_argument("--growth", metavar="ROWS,…", help="sizes to compare, such as 10000,100000,1000000")
    given = parser.parse_args()
    with_fetched_programs()
    # a new process reads the file that the first was started from; a run's is small, and this one is not
    del sys.modules["__main__"].__file__
    if given.growth:
        growth(given.databases.split(","), [int(size) for size in given.growth.split(",")])
        return
    found = {}
    for product in given.databases.split(","):
        try:
            with fresh(product) as store:
                found[product] = measure(store, given.rows, given.sample)
        except pytest.skip.Exception as reason:
            print(f"{product}: {reason}")
    print(f"{f'{given.rows:,} rows':22}" + "".join(f"{product:>18}" for product in found))
    for line, form in LINES.items():
        print(f"{line.replace('_', ' '):22}" + "".join(f"{form.format(f[line]):>18}" for f in found.values()))
    print(f"{'goals':22}" + "".join(f"{'{} x, {} x'.format(*GOALS[product]):>18}" for product in found))
    write("rows", {"rows": given.rows, **found})


if __name__ == "__main__":
    main()
