import io
import os
import random
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import pyrage
import pytest
from sites import at, files, names

from deployguard.backup.find import read_backup
from deployguard.backup.layers import parse_identities, parse_recipients, unwrapped, wrap
from deployguard.backup.restore import restore
from deployguard.backup.stored import check, read_back
from deployguard.backup.take import Order, take
from deployguard.errors import Damaged, Refused, UsageError
from deployguard.secret import Secret

DUMP = "database.sqlite3.zst.age"


@pytest.fixture(scope="module")
def operator():
    return pyrage.x25519.Identity.generate()


@pytest.fixture(scope="module")
def escrow():
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def order(operator, escrow):
    return Order("before", "production", recipients=(str(operator.to_public()), str(escrow.to_public())))


@pytest.fixture
def backup(product, store, order):
    return take(product, store, order)


def test_it_is_restored_once_though_no_recipients_key_is_here(backup):
    assert backup.manifest.state == "restored"
    assert backup.manifest.encrypted
    assert names(at(backup)) == [DUMP, "manifest.json"]


@pytest.mark.parametrize("who", ["operator", "escrow"])
def test_each_recipient_alone_can_restore_it(request, product, store, backup, site, who):
    identity = request.getfixturevalue(who)

    restore(product, backup, store, [identity])

    assert len(names(site.parent)) == 4


def test_nobody_else_can(product, store, backup, site):
    before = site.read_bytes()
    stranger = pyrage.x25519.Identity.generate()

    with pytest.raises(Refused, match="none of the private keys"):
        restore(product, backup, store, [stranger])
    with pytest.raises(Refused, match="is encrypted"):
        restore(product, backup, store)

    assert site.read_bytes() == before


def test_it_holds_no_value_that_can_be_read(backup):
    data = (at(backup) / DUMP).read_bytes() + (at(backup) / "manifest.json").read_bytes()

    assert "Zoë".encode() not in data
    assert b"hello world" not in data


def test_damage_that_even_the_operators_key_covers_is_refused_before_the_first_write(
    product, store, backup, operator, site
):
    """As if somebody who has the operator's key had sealed a damaged file: age itself must notice."""
    before, dice = site.read_bytes(), random.Random(5)
    whole = (at(backup) / DUMP).read_bytes()
    for number in range(60):
        data = bytearray(whole)
        if number % 2:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        else:
            del data[dice.randrange(len(data)) :]
        (at(backup) / DUMP).write_bytes(data)
        stored = replace(backup.manifest.stored, bytes=len(data), sha256=_sha256(data))
        forged = replace(backup, manifest=replace(backup.manifest, stored=stored))

        assert _refused(lambda forged=forged: restore(product, forged, store, [operator])), number

    assert site.read_bytes() == before


def test_another_plaintext_for_the_same_recipients_is_refused(product, store, backup, operator, site):
    forged = io.BytesIO()
    wrap(io.BytesIO(site.read_bytes()), forged, [operator.to_public()])
    (at(backup) / DUMP).write_bytes(forged.getvalue())
    stored = replace(backup.manifest.stored, bytes=len(forged.getvalue()), sha256=_sha256(forged.getvalue()))

    with pytest.raises(Damaged):
        read_back(replace(files(backup), manifest=replace(backup.manifest, stored=stored)), [operator], store.pulse)


def test_a_flipped_bit_is_found_without_any_key(store, backup):
    data = bytearray((at(backup) / DUMP).read_bytes())
    data[len(data) // 2] ^= 1
    (at(backup) / DUMP).write_bytes(data)

    with pytest.raises(Damaged, match="was changed"):
        check(files(backup), store.pulse)


def test_a_private_key_among_the_recipients_is_refused_and_not_repeated(operator, product, store, order):
    with pytest.raises(UsageError) as caught:
        take(product, store, replace(order, recipients=(str(operator),)))

    assert str(operator) not in f"{caught.value} {caught.value.hint}"
    assert not store.destination.path.exists()


def test_a_file_without_a_private_key_is_refused(operator):
    with pytest.raises(UsageError, match="holds no private key"):
        parse_identities(Secret(f"# public key: {operator.to_public()}\n", name="identity.txt"))


def test_the_file_that_age_keygen_writes_is_read(operator, product, store, backup):
    text = f"# created: 2026-01-01\n# public key: {operator.to_public()}\n{operator}\n"

    restore(product, backup, store, parse_identities(Secret(text, name="identity.txt")))


def test_an_ssh_key_is_a_recipient_too(home, product, store, order):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "id"], check=True)
    public, private = (home / "id.pub").read_text(), Secret((home / "id").read_text(), name="id")

    backup = take(product, store, replace(order, id="ssh", recipients=(public,)))

    restore(product, read_backup(store.destination, backup.manifest.id, store.key), store, parse_identities(private))


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3_000_000])
def test_any_number_of_bytes_comes_back(operator, size):
    data, packed = random.Random(size).randbytes(size), io.BytesIO()

    wrap(io.BytesIO(data), packed, parse_recipients([str(operator.to_public())]))
    packed.seek(0)

    with unwrapped(packed, [operator]) as plain:
        assert b"".join(iter(lambda: plain.read(10_000), b"")) == data


def test_a_reader_that_gives_up_leaves_nothing_hanging(operator):
    packed = io.BytesIO()
    wrap(io.BytesIO(os.urandom(3_000_000)), packed, [operator.to_public()])
    packed.seek(0)

    with pytest.raises(TypeError), unwrapped(packed, [operator]) as plain:
        plain.read("no size")


def test_memory_stays_small_whatever_the_size():
    script = """
        import os, pyrage, resource, sys
        from deployguard.backup.layers import unwrapped, wrap
        identity = pyrage.x25519.Identity.generate()

        class Noise:
            left = 200 * 2**20
            def read(self, size=-1):
                size = min(size, self.left)
                self.left -= size
                return os.urandom(size)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with open(sys.argv[1], "wb") as sink:
            wrap(Noise(), sink, [identity.to_public()])
        with open(sys.argv[1], "rb") as source, unwrapped(source, [identity]) as plain:
            while plain.read(2**20):
                pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), f"{folder}/x"], capture_output=True, text=True, check=True
        )

    assert int(run.stdout) < 64 * 1024, "KiB over what it began with"


def _sha256(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _refused(work):
    try:
        work()
    except (Damaged, Refused):  # an altered header may hide the recipients
        return True
    return False
