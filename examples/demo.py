"""`make demo`: builds the sample site's two environments and carries out the guide in both."""

import shlex
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import build_demo

ROOT = Path(__file__).resolve().parent.parent
WRAPPER = "demo/deployguard"
WATCH = "watch=500ms"
COLUMNS = ["first_name", "email", "discord_username", "stripe_account_id", "updated_at"]
SHOWN = 40


def main() -> None:
    began = time.time()
    say("Building a site with 5,000 people for staging and for production …")
    build_demo.main(ROOT)
    key, before = plain_row()
    deployguard("preflight", "--env", "staging")
    say(f"The guide watches production for 24 hours; --set {WATCH} makes that half a second here.")
    for environment in build_demo.ENVIRONMENTS:
        deployguard("deploy", "--env", environment, "--yes", "--set", WATCH)
    say("The reports:")
    for report in sorted((ROOT / "reports").glob("[!.]*")):
        if report.stat().st_mtime >= began:
            print(f"  {report.relative_to(ROOT)}")
    say(f"Row {key} of web_profile, as stored in the production database:")
    for name, old, new in zip(COLUMNS, before, row(key), strict=True):
        print(f"  {name:<18} {shorten(old):<{SHOWN}}  {'(unchanged)' if old == new else '→ ' + shorten(new)}")
    say("Try next:")
    for command in ["rollback --env production --yes", "report", "data verify --env production"]:
        print(f"  {WRAPPER} {command}")


def deployguard(*arguments: str) -> None:
    """Show the command, run it with its output going where ours goes, and stop if it fails."""
    say("$ " + shlex.join([WRAPPER, *arguments]))
    exit_code = subprocess.run([ROOT / WRAPPER, *arguments], check=False).returncode
    if exit_code:
        sys.exit(exit_code)


def say(line: str) -> None:
    print(f"\n{line}", flush=True)


def plain_row() -> tuple[int, tuple[str, ...]]:
    """A person with nothing odd about them, who is all plaintext still."""
    with closing(database()) as connection:
        found = connection.execute(
            "SELECT id FROM web_profile WHERE first_name = 'Ada' AND email LIKE 'user%'"
            " AND discord_username LIKE 'user%' AND stripe_account_id LIKE 'acct%' ORDER BY id"
        )
        key = found.fetchone()[0]
    return key, row(key)


def row(key: int) -> tuple[str, ...]:
    with closing(database()) as connection:
        found: tuple[str, ...] = connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM web_profile WHERE id = ?",  # noqa: S608 - names stand above
            [key],
        ).fetchone()
        return found


def database() -> sqlite3.Connection:
    return sqlite3.connect(ROOT / "demo/production/db.sqlite3")


def shorten(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"


if __name__ == "__main__":
    main()
