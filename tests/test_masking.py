import base64
import html
import json
import random
import re
import shlex
import string
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployguard.errors import Refused
from deployguard.masking import Masker
from deployguard.secret import Secret

CANARY = "gAAAAc4nary/+Zb3 'q\"§%&=tail-end"
LONG = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=150))


def masker(*values: str) -> Masker:
    return Masker([Secret(value, name=f"s{n}") for n, value in enumerate(values)])


def wrapped(text: str, width: int, end: str = "\n") -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


FORMS = {
    "raw": CANARY,
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 in an URL": base64.urlsafe_b64encode(CANARY.encode()).decode(),
    "base32": base64.b32encode(CANARY.encode()).decode(),
    "hex": CANARY.encode().hex(),
    "HEX": CANARY.encode().hex().upper(),
    "quote": quote(CANARY),
    "quote all": quote(CANARY, safe=""),
    "quote_plus": quote_plus(CANARY),
    "quote in small letters": re.sub("%..", lambda found: found[0].lower(), quote(CANARY)),
    "json": json.dumps(CANARY),
    "json as UTF-8": json.dumps(CANARY, ensure_ascii=False),
    "json with slashes escaped": json.dumps(CANARY).replace("/", "\\/"),
    "shell": shlex.quote(CANARY),
    "shell, the other way": "'" + CANARY.replace("'", "'\\''") + "'",
    "repr": repr(CANARY),
    "ascii": ascii(CANARY),
    "repr of bytes": repr(CANARY.encode()),
    "html": html.escape(CANARY),
    "broken at 76": wrapped(base64.b64encode(LONG.encode()).decode(), 76),
    "broken at 64": wrapped(base64.b64encode(LONG.encode()).decode(), 64),
    "broken at 64, CRLF": wrapped(LONG, 64, "\r\n"),
    "raw broken at 76, indented": wrapped(LONG, 76, "\n    "),
    "raw broken at 64": wrapped(LONG, 64),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_a_secret_is_masked_whole(form):
    masked = masker(CANARY, LONG).mask_text(f"before >{FORMS[form]}< after")

    inner = masked.removeprefix("before >").removesuffix("< after")
    assert "***" in inner
    assert len(inner.replace("***", "")) <= 4, inner  # quotes; the last character and the padding of base32


@pytest.mark.parametrize("form", FORMS)
def test_a_form_split_over_two_writes_at_any_place_is_masked(form):
    subject, data = masker(CANARY, LONG), f"before >{FORMS[form]}< after".encode()

    for cut in range(len(data)):
        stream = subject.stream()
        assert stream.feed(data[:cut]) + stream.feed(data[cut:]) + stream.finish() == subject.mask(data), cut


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("offset", range(7))
@pytest.mark.parametrize("column", [0, 1, 5, 63])
def test_base64_at_any_offset_and_column_is_masked_but_for_its_edges(encode, offset, column):
    coded = encode(b"x" * offset + CANARY.encode() + b"yy").decode()

    masked = masker(CANARY).mask_text(wrapped("." * column + coded, 64))

    rest = masked[column:].replace("\n", "").split("***")
    assert [coded.startswith(rest[0]), coded.endswith(rest[1]), len(rest)] == [True, True, 2]
    assert len(rest[0]) <= offset * 8 / 6 + 1
    assert len(rest[1]) <= 2 * 8 / 6 + 4


def test_each_line_and_each_json_leaf_of_a_secret_is_masked_alone():
    leaves = {"a": {"password": "leaf-one-secret"}, "b": ["leaf-two-secret", 1234567890123], "ok": True}
    subject = masker("-----BEGIN-----\nfirst-line-of-key\nx\nsecond-line-of-key", json.dumps(leaves))

    text = subject.mask_text(
        "first-line-of-key x leaf-one-secret leaf-two-secret second-line-of-key 1234567890123 True"
    )

    assert text == "*** x *** *** *** *** True"


@pytest.mark.parametrize("short", ["", "1234567", "   1234567  \n", "a          b"])
def test_a_secret_too_short_to_mask_is_refused_without_being_shown(short):
    with pytest.raises(Refused) as refused:
        masker(short)

    assert "s0" in refused.value.message
    assert "1234567" not in refused.value.message + refused.value.hint


def test_ordinary_text_stays_as_it_is():
    text = "nothing to see\n\there  \r\n" + "é€😀\ud800"

    assert masker(CANARY, LONG).mask_text(text) == text
    assert Masker([]).mask_text(text) == text
    assert Masker([]).mask(b"\x00\xff") == b"\x00\xff"


def test_contains_finds_what_must_not_stand_in_an_argv():
    subject = masker(CANARY)

    assert subject.contains(f"--password={CANARY}")
    assert subject.contains(b"x" + base64.b64encode(CANARY.encode()))
    assert not subject.contains("--password-file=/run/secret")
    assert not Masker([]).contains("anything")


def test_secrets_that_overlap_are_masked_to_the_end_of_the_last():
    assert masker("abcdefghij", "ghijklmnop").mask(b"-abcdefghijklmnop-") == b"-***-"
    assert masker("aaaaaaaa").mask(b"-" + b"a" * 11 + b"-") == b"-***-"
    assert masker("password", "password-and-more").mask(b"password-and-more password") == b"*** ***"


def test_a_line_is_shown_when_it_is_written_unless_it_may_begin_a_secret():
    stream = masker("hunter2-hunter2").stream()

    assert stream.feed(b"hello!\n") == b"hello!\n"
    assert stream.feed(b"a hunter2-") == b"a "
    assert stream.feed(b"no!\n") == b"hunter2-no!\n"


def test_what_is_held_back_is_bounded():
    subject = masker("hunter2-hunter2")
    stream = subject.stream()

    shown = sum(len(stream.feed(b"hunter2" + b" " * 5000)) for _ in range(200))

    assert 200 * 5007 - shown < 1000


PIECES = st.sampled_from(
    [
        b"abcabcab",
        b"abcabcabcabc",
        b"abc",
        b"ab",
        b"c",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"YWJjYWJj",
        b"616263",
        b"x",
        b"\xff",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=30), st.lists(st.integers(0, 200), max_size=12))
def test_masked_in_pieces_is_masked_whole(pieces, cuts):
    subject, data = masker("abcabcab", "cabcabcabx x", "abcabcabcabc"), b"".join(pieces)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    stream = subject.stream()
    shown = b"".join(stream.feed(data[a:b]) for a, b in pairwise(edges)) + stream.finish()

    assert shown == subject.mask(data)
    assert b"abcabcab" not in shown


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=8, max_size=40).filter(lambda t: len("".join(t.split())) >= 8), st.text(), st.text())
def test_any_secret_between_any_texts_is_masked(secret, before, after):
    # what stands around may share characters with the secret; the stars keep them apart
    masked = masker(secret).mask_text(f"{before}\0{secret.strip()}\0{after}")

    assert "***" in masked
    assert f"\0{secret.strip()}\0" not in masked
