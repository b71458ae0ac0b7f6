"""Damage to a backup's file, at random, and a restore of what was damaged and sealed all the same."""

import hashlib
import os
import random
from dataclasses import replace

from sites import at

from deployguard.backup.restore import beside
from deployguard.errors import Damaged, StepFailed


def flip(path, dice):
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(path, dice):
    os.truncate(path, dice.randrange(path.stat().st_size))


def zero(path, dice):
    data = bytearray(path.read_bytes())
    begin = dice.choice([i for i in range(0, len(data), 512) if any(data[i : i + 512])])
    data[begin : begin + 512] = bytes(len(data[begin : begin + 512]))
    path.write_bytes(data)


def append(path, dice):
    with path.open("ab") as stream:
        stream.write(dice.randbytes(dice.randrange(1, 5000)))


def move_block(path, dice):
    data = path.read_bytes()
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)]
    here, there = dice.sample(range(len(blocks)), 2)
    if blocks[here] == blocks[there]:
        blocks[here] = bytes(64)
        blocks[there] = b"\1" * 64
    blocks[here], blocks[there] = blocks[there], blocks[here]
    path.write_bytes(b"".join(blocks))


def restored_though_damaged(count, product, store, backup):
    """Damage the dump again and again and seal it anew, as by a disk that lied while it was written.

    Each is really restored: nothing but the copy can tell. It is refused, or the copy is equal
    to what was taken, where the damage hit what holds nothing; how many of these there were.
    """
    dice, dump, equal = random.Random(20), at(backup) / backup.manifest.stored.name, 0
    whole = dump.read_bytes()
    for _ in range(count):
        dice.choice([flip, truncate, zero, move_block])(dump, dice)
        data = dump.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        stored = replace(
            backup.manifest.stored, bytes=len(data), plain_bytes=len(data), sha256=sha256, plain_sha256=sha256
        )
        try:
            with beside(product, replace(backup, manifest=replace(backup.manifest, stored=stored)), store, ()) as copy:
                assert copy.facts(store.key.digests, store.pulse) == backup.manifest.facts
            equal += 1
        except (Damaged, StepFailed):
            pass
        finally:
            dump.write_bytes(whole)
    return equal


def restored_and_nothing_else_changed(count, product, store, backup, seen):
    """The same, on a server of which `seen` says all that must stay as it is."""
    before = seen()

    equal = restored_though_damaged(count, product, store, backup)

    assert seen() == before
    return equal
