"""What is a key and what only looks like one."""

import base64
import os

import pytest
from cryptography.fernet import Fernet

from deployguard.errors import Refused
from deployguard.keys.check import generate_key, parse_key
from deployguard.secret import Secret

GOOD = "3q2-7wDJm4VtZp1oXbK5sYhR8cUfGaNiLw0E6dQvTz4="
ODD_LAST = "3q2-7wDJm4VtZp1oXbK5sYhR8cUfGaNiLw0E6dQvTz5="


def encoded(raw):
    return base64.urlsafe_b64encode(raw).decode()


WRONG = {
    "empty": ("", "is empty"),
    "bytes as Python shows them": (f"b'{GOOD}'", "as Python shows bytes"),
    "in double quotes": (f'"{GOOD}"', "is in quotes"),
    "a line break behind it": (f"{GOOD}\n", "white space"),
    "a space before it": (f" {GOOD}", "white space"),
    "a byte order mark": (f"\ufeff{GOOD}", "byte order mark"),
    "a character lost": (GOOD[1:], "has 43 characters"),
    "without its =": (GOOD[:-1], "has 43 characters"),
    "doubled": (GOOD * 2, "has 88 characters"),
    "the other base64": (encoded(b"\xff" * 16 + os.urandom(16)).replace("_", "/").replace("-", "+"), "not base64url"),
    "not ASCII": ("é" + GOOD[1:], "not base64url"),
    "not the canonical way": (ODD_LAST, "canonical"),
    "31 bytes": (encoded(os.urandom(31)), "decodes to 31 bytes"),
    "one byte": (encoded(b"\0" * 32), "one byte repeated"),
    "text": (encoded(b"correct-horse-battery-staple-42!"), "is text in base64"),
    "a digest of text, in hex": (encoded(b"5f4dcc3b5aa765d61d8327deb882cf99"), "is text in base64"),
    "counting": (encoded(bytes(range(32))), "simple pattern"),
    "counting down by threes": (encoded(bytes(255 - 3 * n for n in range(32))), "simple pattern"),
    "eight bytes four times": (encoded(bytes([1, 250, 3, 199, 5, 88, 7, 144]) * 4), "simple pattern"),
    "the Fernet specification's": ("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=", "public documentation"),
    "of a tutorial": ("ZmDfcTF7_60GrrY167zsiPd67pEvs0aGOv2oasOM1Pg=", "public documentation"),
    "of Airflow's images": ("46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho=", "public documentation"),
    "of Airflow's examples": ("81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=", "public documentation"),
}


@pytest.mark.parametrize(("text", "what"), WRONG.values(), ids=WRONG)
def test_what_is_no_key_is_refused_with_a_fix_and_never_shown(text, what):
    with pytest.raises(Refused, match=r"^the key field_key ") as refused:
        parse_key(Secret(text, name="field_key"))

    assert what in refused.value.message
    assert refused.value.hint
    assert "\n" not in refused.value.hint
    assert not text or text not in refused.value.message + refused.value.hint


def test_a_key_from_the_library_or_from_us_is_good():
    for text in [GOOD, *(Fernet.generate_key().decode() for _ in range(200))]:
        assert parse_key(Secret(text, name="field_key")).reveal() == text

    assert parse_key(generate_key())
