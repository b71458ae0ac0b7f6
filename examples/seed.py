"""Fills a demo database with people whose data is as nasty as real data.

Run by an environment's own interpreter: some rows are to be tokens already, as if the new code
had saved them once, and making a token takes `cryptography`. Everything is written past Django,
since that is what old rows look like: written by nobody knows which version.

    python seed.py DATABASE KEY_FILE SEED
"""

import json
import random
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

PROFILES = 5000
DONATIONS = 4000
ORDERS = 3000
REQUESTS = 5000
VOTES = 3000

FIRST = ["Ada", "Grace", "Zoë", "Renée", "José", "Łukasz", "Nguyễn", "美咲", "Дмитрий", "مريم", "שרה", "Björk", "Ọlá"]
LAST = ["Lovelace", "O'Brien", "D'Angelo", "von der Heide", "Müller-Lüdenscheidt", "Иванова", "李", "García", "Null"]

# What people, imports and old bugs leave behind. Each fits the narrowest column there is now
# and, as a token, the 500 characters of the new one. None has the form of a token: the ones that
# begin like one are of a length, or in an alphabet, that no token has.
NASTY = [
    "", " ", "trailing  ", "  leading", "\ttab\t", "line\nbreak", "carriage\r\nreturn", "\r", "\n",
    "O'Brien", 'Bob "Bobby" Tables', "'; DROP TABLE web_profile; --", "back\\slash \\n",
    "100 %s {x} ${y} %", "<b>&amp;</b>",
    "👩‍👩‍👧‍👦", "🇺🇦🏳️‍🌈", "e\u0301 is not é", "\u202eright to left\u202c", "שלום\u200f!", "zero\u200bwidth",
    "\ufeffmark", "\u00a0",
    "null", "None", "NULL", "0", "false", "b'bytes'",
    "gAAAA", "gAAAAA is my gamer tag", "gAAAAABlooksLikeAToken==", "gAAAA" + "A" * 95, "gAAAAAB" + "é" * 60,
    "x" * 100, "é" * 100, "漢" * 100,
]  # fmt: skip
LONG_EMAIL = "a" * 64 + "@" + ".".join(["b" * 59] * 3) + ".example"
IPS = ["127.0.0.1", "255.255.255.255", "::", "::1", "2001:db8::8a2e:370:7334", "::ffff:203.0.113.9", ""]
JSON_TEXTS = ["{}", "[]", "null", '""', '"gAAAA"', "[1, 2.50, 1e3, true]", '{"a":1,"a":2}', ' {"spaced" : 1 } ']

NULL_SHARE = 0.05
NASTY_SHARE = 0.15
TOKEN_SHARE = 0.06  # saved once by the new code, before a rollback perhaps


class Seed:
    """Values for one environment; the same seed gives the same people, tokens aside."""

    def __init__(self, seed: str, key: str) -> None:
        self.random = random.Random(seed)
        self.fernet = Fernet(key)

    def value(self, plain: Callable[[], str], nasty: list[str], *, tokens: bool = True) -> str | None:
        """NULL, something nasty or something plain; a part of the last two as a token already."""
        if self.random.random() < NULL_SHARE:
            return None
        text = self.random.choice(nasty) if self.random.random() < NASTY_SHARE else plain()
        if tokens and self.random.random() < TOKEN_SHARE:
            return self.fernet.encrypt(text.encode()).decode()
        return text

    def person(self) -> list[object]:
        handles = [self.handle() for _ in ("Discord", "Slack", "GitHub")]
        rest = [self.random.randrange(2), self.number(), self.moment(), self.moment()]
        return [self.name(FIRST), self.name(LAST), self.email(), *handles, self.account(), *rest]

    def name(self, names: list[str]) -> str | None:
        return self.value(lambda: self.random.choice(names), [*NASTY, "é" * 150])

    def handle(self) -> str | None:
        return self.value(lambda: f"user_{self.number()}", NASTY)

    def account(self) -> str | None:
        return self.value(lambda: f"acct_{self.random.getrandbits(80):020x}", [*NASTY, "acct_" + "9" * 250])

    def email(self) -> str | None:
        odd = [
            "",
            "Upper.Case+tag@Example.ORG",
            '"quoted spaces"@example.org',
            "ü@bücher.example",
            " a@b.example ",
            LONG_EMAIL,
        ]
        return self.value(lambda: f"user{self.number()}@example.org", odd)

    def ip(self) -> str | None:
        return self.value(lambda: f"203.0.113.{self.random.randrange(256)}", IPS)

    def address(self) -> str | None:
        # no tokens: the old column checks that it holds JSON
        return self.value(self.address_text, JSON_TEXTS, tokens=False)

    def address_text(self) -> str:
        street = f"{self.random.choice(LAST)} Straße {self.number()}"
        address = {
            "name": self.random.choice([*FIRST, *NASTY]),
            "lines": [street, None],
            "city": "Köln",
            "zip": "01067",
        }
        return json.dumps(address, ensure_ascii=self.random.random() < 0.5)  # noqa: PLR2004 - half of them

    def number(self) -> int:
        return self.random.randrange(100_000)

    def moment(self) -> str:
        day, second = self.random.randrange(1, 29), self.random.randrange(60)
        return f"20{self.random.randrange(19, 26)}-0{self.random.randrange(1, 10)}-{day:02} 08:15:{second:02}.123456"

    def keys(self, count: int) -> list[int]:
        """Primary keys with gaps, as deleted rows leave them."""
        return sorted(self.random.sample(range(1, count * 3), count))


def fill(connection: sqlite3.Connection, seed: Seed) -> None:
    people = seed.keys(PROFILES)

    def insert(table: str, columns: str, rows: list[tuple[object, ...]]) -> None:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 - names stand below

    insert(
        "web_profile",
        "id, first_name, last_name, email, discord_username, slack_username, github_username, stripe_account_id,"
        " is_mentor, points, created_at, updated_at",
        [(key, *seed.person()) for key in people],
    )
    insert(
        "web_donation",
        "id, profile_id, email, amount_cents, created_at",
        [(k, seed.random.choice(people), seed.email(), seed.number(), seed.moment()) for k in seed.keys(DONATIONS)],
    )
    insert(
        "web_order",
        "id, profile_id, shipping_address, total_cents, created_at",
        [(k, seed.random.choice(people), seed.address(), seed.number(), seed.moment()) for k in seed.keys(ORDERS)],
    )
    insert(
        "web_webrequest",
        "id, path, ip_address, created_at",
        [(k, f"/page/{seed.number()}", seed.ip(), seed.moment()) for k in seed.keys(REQUESTS)],
    )
    insert(
        "web_featurevote",
        "id, feature, ip_address, created_at",
        [(k, "dark mode", seed.ip(), seed.moment()) for k in seed.keys(VOTES)],
    )


def main(database: str, key_file: str, seed: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        fill(connection, Seed(seed, Path(key_file).read_text("ascii").strip()))
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
