"""Many tokens at a time are what `cryptography.fernet` makes and reads, in both directions."""

import base64
import hashlib
import hmac
import os
import random
import time

import pytest
from cryptography.fernet import Fernet, InvalidToken
from hypothesis import given
from hypothesis import strategies as st

from deployguard.errors import Refused
from deployguard.keys import bulk as module
from deployguard.keys import tokens as forms
from deployguard.keys.bulk import BulkFernet
from deployguard.keys.keyring import LOCKED, PLAIN, Keyring, Opened
from deployguard.keys.tokens import token_bytes
from deployguard.secret import Secret

# the specification's own example: github.com/fernet/spec, generate.json and verify.json
KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
TOKEN = b"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="


@pytest.fixture
def key():
    return Fernet.generate_key().decode()


def new(key):
    return BulkFernet(Secret(key, name="key"))


def raw(token):
    return base64.urlsafe_b64decode(token)


def test_the_specifications_token_is_opened():
    assert new(KEY).open([raw(TOKEN)]) == [b"hello"]


def test_the_specifications_token_is_made_from_its_parts(monkeypatch):
    # the IV is what our pass makes of random bytes: give it those that become the specification's IV
    cipher = new(KEY)
    wanted = bytes(range(16))
    before = cipher._cipher.decryptor().update(wanted)
    monkeypatch.setattr(module.os, "urandom", lambda size: before[:size])

    assert cipher.seal([b"hello"], 499162800) == [TOKEN]


@given(st.lists(st.binary(max_size=70), max_size=40))
def test_the_library_opens_what_is_sealed(plaintexts):
    key = Fernet.generate_key()
    tokens = new(key.decode()).seal(plaintexts, int(time.time()))

    assert [Fernet(key).decrypt(token) for token in tokens] == plaintexts


@given(st.lists(st.binary(max_size=70), max_size=40))
def test_what_the_library_seals_is_opened(plaintexts):
    key = Fernet.generate_key()
    tokens = [raw(Fernet(key).encrypt(plaintext)) for plaintext in plaintexts]

    assert new(key.decode()).open(tokens) == plaintexts


@pytest.mark.parametrize("cases", [20_000, pytest.param(1_000_000, marks=pytest.mark.faults)])
def test_both_agree_over_many_cases(key, cases):
    bulk, fernet, now = new(key), Fernet(key), int(time.time())
    for _ in range(cases // 2000):
        values = [os.urandom(random.choice([0, 1, 15, 16, 17, 22, 31, 32, 33, 100, 255])) for _ in range(1000)]

        assert [fernet.decrypt(token) for token in bulk.seal(values, now)] == values
        assert bulk.open([raw(fernet.encrypt(value)) for value in values]) == values


def test_large_values_and_long_lists_are_worked_on_in_portions(key, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 100)
    monkeypatch.setattr(forms, "AT_ONCE", 100)
    values = [b"x" * n for n in (0, 1, 99, 100, 101, 500, 3, 16)]
    tokens = new(key).seal(values, 1_700_000_000)

    assert [Fernet(key).decrypt(token) for token in tokens] == values
    assert new(key).open([raw(token) for token in tokens]) == values


def test_no_token_of_others_is_opened_and_the_rest_is(key):
    mine, foreign = Fernet(key).encrypt(b"mine"), Fernet(Fernet.generate_key()).encrypt(b"foreign")

    assert new(key).open([raw(t) for t in (foreign, mine, foreign, mine)]) == [None, b"mine", None, b"mine"]


def test_a_token_with_any_bit_changed_is_not_opened(key):
    token = raw(Fernet(key).encrypt(b"some value of two blocks"))
    changed = [token[:i] + bytes([token[i] ^ 1 << bit]) + token[i + 1 :] for i in range(len(token)) for bit in range(8)]

    assert set(new(key).open(changed)) == {None}


@pytest.mark.parametrize("end", [b"\0", b"\x11", b"\x02\x03", b"\x01\x02", b"\x10" * 15])
def test_padding_that_the_library_refuses_is_refused(key, end):
    signed = token_with_padding(key, end.rjust(32, b"a"))
    with pytest.raises(InvalidToken):
        Fernet(key).decrypt(base64.urlsafe_b64encode(signed))

    assert new(key).open([signed, raw(Fernet(key).encrypt(b"next"))]) == [None, b"next"]


def token_with_padding(key, text):
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    secret, iv = base64.urlsafe_b64decode(key), os.urandom(16)
    encryptor = Cipher(algorithms.AES(secret[16:]), modes.CBC(iv)).encryptor()
    body = b"\x80" + int(time.time()).to_bytes(8, "big") + iv + encryptor.update(text)
    return body + hmac.digest(secret[:16], body, hashlib.sha256)


def test_equal_values_get_different_tokens_and_ivs(key):
    tokens = new(key).seal([b"same"] * 5000, 1_700_000_000)

    assert len(set(tokens)) == len({raw(t)[9:25] for t in tokens}) == 5000


def test_ivs_look_random_bit_by_bit(key):
    ivs = [raw(t)[9:25] for t in new(key).seal([b"same"] * 8000, 1_700_000_000)]

    for bit in range(128):
        ones = sum(iv[bit // 8] >> bit % 8 & 1 for iv in ivs)
        assert 3600 < ones < 4400


def a_bit_flips(monkeypatch, where, name):
    """The next result of a function has one bit changed, as by a fault of the machine's memory."""
    good = getattr(where, name)

    def faulty(*arguments, **more):
        monkeypatch.setattr(where, name, good)
        return flipped(good(*arguments, **more))

    monkeypatch.setattr(where, name, faulty)


def flipped(found):
    if isinstance(found, list):
        return [*found[:1], flipped(found[1]), *found[2:]]
    middle = len(found) // 2
    return found[:middle] + bytes([found[middle] ^ random.choice([1, 2, 128])]) + found[middle + 1 :]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (module, "_stream"),
        (module, "cut"),
        (BulkFernet, "_macs"),
        (module, "_raw"),
        (module, "urlsafe_b64encode"),
        (module, "_tokens"),
        (module, "_read"),
        (BulkFernet, "_texts"),
    ],
)
def test_no_token_is_given_out_after_a_fault_in_making_it(key, monkeypatch, where, name):
    ring = Keyring(Secret(key, name="key"))
    a_bit_flips(monkeypatch, where, name)

    with pytest.raises(Refused, match="did not open"):
        ring.seal_many([b"a" * 40, b"b" * 40, b"c" * 40])


@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize(
    "spoilt",
    [
        lambda t: t.replace(b"=", b"A"),
        lambda t: t.replace(b"A", b"="),
        lambda t: t[:-1].replace(b"A", b"=", 1) + b"A",
        # one in sixty has no sign of its own alphabet: it gets one of the other
        lambda t: t[:40] + b"+" + t[41:].replace(b"-", b"+").replace(b"_", b"/"),
    ],
    ids=["no sign", "too many", "elsewhere", "another alphabet"],
)
def test_no_token_is_given_out_that_ends_otherwise_than_it_should(key, monkeypatch, size, spoilt):
    good = module._tokens
    monkeypatch.setattr(module, "_tokens", lambda *given: [spoilt(good(*given)[0]), *good(*given)[1:]])

    with pytest.raises(Refused, match="did not open"):
        Keyring(Secret(key, name="key")).seal_many([b"a" * size, b"b" * size])


def test_no_token_is_given_out_that_the_library_does_not_open(key, monkeypatch):
    ring = Keyring(Secret(key, name="key"))
    foreign = Fernet(Fernet.generate_key())
    monkeypatch.setattr(BulkFernet, "seal", lambda _, values, __: [foreign.encrypt(value) for value in values])

    with pytest.raises(Refused, match="did not open"):
        ring.seal_many([b"a", b"b"])


@pytest.mark.parametrize("way", ["", "plain"])
def test_both_ways_look_at_values_alike(monkeypatch, new_key, way):
    monkeypatch.setenv(PLAIN, way)
    older, foreign = new_key(), new_key()
    ring = Keyring(new_key(), [older])
    values = [b"", b"plain", *ring.seal_many([b"", b"a"]), Keyring(older).seal(b"b"), Keyring(foreign).seal(b"c")]

    assert ring.look(values) == [None, None, Opened(b"", 0), Opened(b"a", 0), Opened(b"b", 1), LOCKED]
    assert ring.look([]) == ring.seal_many([]) == []
    assert all(token_bytes(token) for token in values[2:])
