"""A power cut at any instant: what was synced is there, of the rest each piece may be there, or not, or half.

After it the journal has every event that was acknowledged, perhaps one more, and nothing else.
"""

import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployguard.errors import Damaged
from deployguard.journal.sqlite import SqliteJournal

SECTOR = 512


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Everything that was written, in order, and the events of the whole journal."""
    folder = tmp_path_factory.mktemp("written")
    script = Path(__file__).with_name("recorder.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, check=True)
    journal = SqliteJournal(folder / "journal.db")
    events = [r.event for r in journal.records()]
    journal.close()
    return pickle.loads(done.stdout), events


def image(acts, until, rng):
    """The files as a power cut after `until` acts may leave them."""
    synced = {a[1]: i for i, a in enumerate(acts[:until]) if a[0] == "sync"}
    folder_synced = _folder_synced(acts[:until])
    files, still_there = {}, set()
    for index, act in enumerate(acts[:until]):
        if act[0] in {"acknowledged", "sync"} or act[1] in still_there:
            continue
        if act[0] == "delete":
            if index < folder_synced or rng.random() < 0.5:
                files.pop(act[1], None)
            else:
                still_there.add(act[1])  # what is written under this name from now on is another file
        elif index < synced.get(act[1], -1):
            _apply(files, act, lambda _: True)
        else:
            how = rng.choice(["whole", "whole", "lost", "torn"])
            keeps = {"whole": lambda _: True, "lost": lambda _: False, "torn": lambda _: rng.random() < 0.5}[how]
            _apply(files, act, keeps)
    return files


def _folder_synced(acts):
    """Index of the last act by which the folder's entries were made certain: the first sync of a file that SQLite made."""
    last, new = -1, {"journal.db-wal", "journal.db-journal"}
    for index, act in enumerate(acts):
        if act[0] == "sync" and act[1] in new:
            last = index
            new.discard(act[1])
        elif act[0] == "delete":
            new.add(act[1])
    return last


def _apply(files, act, keeps):
    content = files.setdefault(act[1], bytearray())
    if act[0] == "cut":
        if keeps(0):
            del content[act[2] :]
        return
    _, _, at, data = act
    # a disk writes whole sectors: those at fixed places, not those that a write happens to begin in
    for begin in range(at - at % SECTOR, at + len(data), SECTOR):
        low, high = max(begin, at), min(begin + SECTOR, at + len(data))
        if keeps(begin):
            content.extend(b"\0" * (high - len(content)))
            content[low:high] = data[low - at : high - at]


def read(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    journal = SqliteJournal(folder / "journal.db")
    try:
        return [r.event for r in journal.records()]
    finally:
        journal.close()


def wrong_images(written, folder, number, seed):
    acts, events = written
    rng = random.Random(seed)
    for _ in range(number):
        until = rng.randint(1, len(acts))
        acknowledged = max((a[1] for a in acts[:until] if a[0] == "acknowledged"), default=0)
        files = image(acts, until, rng)
        try:
            found = read(folder, files)
        except Damaged as error:
            yield until, acknowledged, error.message
            continue
        if found != events[: len(found)] or len(found) < acknowledged:
            yield until, acknowledged, len(found)


def test_after_a_power_cut_every_acknowledged_event_is_there(written, tmp_path):
    seed = random.randrange(10**6)
    print("seed", seed)

    assert list(wrong_images(written, tmp_path / "image", 400, seed)) == []


@pytest.mark.faults
def test_after_five_thousand_power_cuts_every_acknowledged_event_is_there(written, tmp_path):
    assert list(wrong_images(written, tmp_path / "image", 5000, seed=1)) == []
