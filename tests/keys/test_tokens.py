"""A token's form is seen without a key, and text that only looks like one is not taken for it."""

import base64
import os
import re
import struct
import time

import pytest
from cryptography.fernet import Fernet
from hypothesis import example, given
from hypothesis import strategies as st

from deployguard.keys.tokens import (
    STAMP,
    content_length,
    has_token_form,
    shapes,
    token_bytes,
    token_forms,
    token_length,
)

FERNET = Fernet(Fernet.generate_key())
# the specification's own example (github.com/fernet/spec, generate.json)
PUBLISHED = b"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="


def built(*, version=0x80, stamp=None, blocks=2, extra=0):
    stamp = int(time.time()) if stamp is None else stamp
    return base64.urlsafe_b64encode(struct.pack(">BQ", version, stamp) + os.urandom(16 + 16 * blocks + 32 + extra))


@given(st.binary(max_size=100))
def test_every_token_of_the_library_has_the_form_the_length_and_the_time(plaintext):
    token = FERNET.encrypt_at_time(plaintext, 1_700_000_000)

    assert token_bytes(token) == base64.urlsafe_b64decode(token)
    assert len(token) == token_length(len(plaintext))
    assert int.from_bytes(token_bytes(token)[STAMP]) == 1_700_000_000


@pytest.mark.parametrize(
    "value",
    [b"", b"gAAAAA", b"gAAAAA" + b"A" * 94, b"gA" * 60, PUBLISHED, b"g" * 100, b"gAAAAABm" + b"\xff" * 92,
     built(version=0x81), built(stamp=0), built(stamp=int(time.time()) + 11 * 365 * 86400), built(blocks=0),
     built(extra=1), built() + b"A", built() + b"AAAA", b" " + built(), built() + b"\n", built().rstrip(b"=") + b"==="],
    ids=range(17),
)  # fmt: skip
def test_text_that_only_begins_like_a_token_is_none(value):
    assert not has_token_form(value)


@given(st.integers(0, 119), st.integers(0, 255))
def test_a_token_with_one_changed_character_has_the_form_only_if_its_base64_is_canonical(place, byte):
    token = bytearray(FERNET.encrypt(b"x" * 20))
    token[place] = byte
    value = bytes(token)

    if has_token_form(value):
        assert base64.urlsafe_b64encode(base64.urlsafe_b64decode(value)) == value


def test_each_of_the_spellings_that_decode_to_one_token_but_its_own_is_none():
    token = FERNET.encrypt(b"x" * 20)
    assert token.endswith(b"=")
    last = len(token.rstrip(b"=")) - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    alike = [token[:last] + bytes([c]) + token[last + 1 :] for c in alphabet]
    same = [t for t in alike if base64.urlsafe_b64decode(t) == base64.urlsafe_b64decode(token)]

    assert len(same) > 1
    assert [t for t in same if has_token_form(t)] == [token]


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_the_plain_alphabet_is_none(blocks):
    token = next(t for t in (built(blocks=blocks) for _ in range(1000)) if b"-" in t and b"_" in t)

    assert has_token_form(token)
    assert not has_token_form(token.replace(b"-", b"+"))
    assert not has_token_form(token.replace(b"_", b"/"))


def spoilt(size, place, byte):
    """A token of `size` bytes with one character exchanged, or none where it is shorter."""
    token = bytearray(FERNET.encrypt(b"x" * size))
    if -len(token) <= place < len(token):
        token[place] = byte
    return bytes(token)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(spoilt, st.integers(0, 50), st.integers(-3, 140), st.integers(0, 255)),
        )
    )
)
def test_among_others_each_value_has_the_form_that_it_has_alone(values):
    assert token_forms(values) == [token_bytes(value) for value in values]


@pytest.mark.parametrize("bad", [b"=", b"+", b"\n", b"\xff"])
def test_one_spoilt_value_takes_the_form_from_no_other(bad):
    good = [FERNET.encrypt(b"x" * size) for size in (0, 16, 20, 40)]
    wrong = good[1][:50] + bad + good[1][51:]

    assert token_forms([*good, wrong, *good]) == [*token_forms(good), None, *token_forms(good)]
    assert None not in token_forms(good)


def has_shape(text):
    return any(
        len(text) >= shape.least and len(text) % shape.modulus == shape.remainder and re.search(shape.pattern, text)
        for shape in shapes()
    )


@given(st.integers(0, 300), st.integers(1_320_000_000, 2_050_000_000))
def test_every_token_of_these_years_has_a_shape_that_a_database_knows(size, stamp):
    assert has_shape(FERNET.encrypt_at_time(b"x" * size, stamp).decode())


@given(st.builds(spoilt, st.integers(0, 80), st.integers(-5, 200), st.integers(0, 127)), st.integers(0, 6))
@example(built(stamp=1_299_999_999), 0)
@example(built(stamp=2**31 - 1), 0)
@example(built(stamp=2**32 - 1), 0)
@example(built(blocks=0), 0)
@example(built(blocks=1), 0)
def test_what_has_the_shape_is_a_token(value, cut):
    for text in (value, value[cut:], value[: len(value) - cut], value[: len(value) - 1] + b"\n", value + b"\n"):
        assert has_token_form(text) or not has_shape(text.decode("latin-1"))


@pytest.mark.parametrize("years", [0, 2, 5, 11, 40])
def test_what_has_the_shape_is_a_token_in_later_years_too(monkeypatch, years):
    now = time.time() + years * 365 * 86400
    monkeypatch.setattr(time, "time", lambda: now)

    tokens = [built(stamp=stamp) for stamp in range(0, 2**32, 1 << 23)]

    assert [t for t in tokens if has_shape(t.decode()) and not has_token_form(t)] == []


@pytest.mark.parametrize("characters", [0, 50, 99, *range(100, 500)])
def test_the_largest_content_of_a_width_fits_and_one_byte_more_does_not(characters):
    largest = content_length(characters)

    assert largest < 0 or token_length(largest) <= characters
    assert token_length(largest + 1) > characters
