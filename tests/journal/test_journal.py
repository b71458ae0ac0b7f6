"""The journal: an event that was appended is there, unchanged, or the journal is refused."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from deployguard.errors import Damaged, DeployguardError, LeaseLost
from deployguard.journal import events as e
from deployguard.journal.sqlite import SqliteJournal, open_readable
from deployguard.secret import Secret


def begun(environment="staging", steps=("a",)):
    return e.RunStarted(
        environment=environment, name="n", runbook_digest="r", plan_digest="p", commit=None, target=None, actor="me",
        host="h", version="0", steps=[{"id": s, "uses": "run"} for s in steps],
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path):
    journal = SqliteJournal(path)
    yield journal
    journal.close()


def write_some(path, events=6):
    journal = SqliteJournal(path)
    journal.append("r1", begun())
    fence = journal.take_lease("r1", "staging", at_least=1)
    for number in range(events):
        journal.append("r1", e.StepStarted(step="a", uses="run", attempt=number + 1), fence=fence)
    journal.close()


def test_events_come_back_as_they_were_in_order(journal, path):
    written = [journal.append("r1", begun()), journal.append("r1", e.StepSkipped(step="a", reason="é\n\u202e"))]

    assert list(SqliteJournal(path).records()) == written
    assert [r.seq for r in written] == [1, 2]


def test_many_processes_may_make_it_at_the_same_moment(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom deployguard.journal.sqlite import SqliteJournal\n"
        "sys.stdin.readline()\n"
        "for number in range(25): SqliteJournal(Path(sys.argv[1], f'{number}.db')).close()"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    time.sleep(1)  # until all have imported what they need; the fewer have, the less is tried

    for process in several:
        process.stdin.write("go\n")
        process.stdin.flush()
    complaints = [process.communicate()[1] for process in several]

    assert complaints == [""] * 8


def test_two_writers_share_one_chain(journal, path):
    other = SqliteJournal(path)
    for number in range(5):
        journal.append(f"r{number}", begun())
        other.append(f"s{number}", begun("production"))

    assert [r.seq for r in journal.records()] == list(range(1, 11))


def test_a_stale_holder_cannot_write(journal):
    journal.append("r1", begun())
    old = journal.take_lease("r1", "staging", at_least=1)
    journal.append("r2", begun())
    journal.take_lease("r2", "staging", at_least=1)

    with pytest.raises(LeaseLost):
        journal.append("r1", e.StepStarted(step="a", uses="run", attempt=1), fence=old)

    assert not any(isinstance(r.event, e.StepStarted) for r in journal.records())


def test_another_environments_lease_is_no_concern_of_ours(journal):
    journal.append("r1", begun())
    mine = journal.take_lease("r1", "staging", at_least=1)
    journal.append("r2", begun("production"))
    journal.take_lease("r2", "production", at_least=50)

    journal.append("r1", e.StepStarted(step="a", uses="run", attempt=1), fence=mine)


def test_the_fence_is_above_what_the_target_has_seen(journal):
    journal.append("r1", begun())

    assert journal.take_lease("r1", "staging", at_least=41) == 41
    assert journal.take_lease("r1", "staging", at_least=7) == 42


def test_the_file_is_private_from_the_first_byte(journal, path):
    assert oct(path.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET body = replace(body, 'run', 'runx') WHERE seq = 4",
        "UPDATE events SET run = 'r2' WHERE seq = 4",
        "UPDATE events SET at = '2000-01-01T00:00:00.000Z' WHERE seq = 4",
        "DELETE FROM events WHERE seq = 4",
        "UPDATE events SET seq = 100 - seq WHERE seq IN (4, 5); UPDATE events SET seq = 4 WHERE seq = 95; UPDATE events SET seq = 5 WHERE seq = 96",
    ],
    ids=["body", "run", "time", "removed", "swapped"],
)
def test_a_changed_record_is_refused_with_its_number(path, change):
    write_some(path)
    with sqlite3.connect(path) as raw:
        raw.executescript(change)

    with pytest.raises(Damaged, match="event 4") as caught:
        SqliteJournal(path)

    assert caught.value.exit_code == 8
    assert "--inspect" in caught.value.hint


def test_a_lost_tail_is_noticed(path):
    write_some(path)
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM events WHERE seq = 8")

    with pytest.raises(Damaged, match="ends at event 7, but event 8 was recorded"):
        SqliteJournal(path)


def test_a_keyed_chain_cannot_be_made_anew_without_the_key(path):
    key = Secret("a key of the operator", name="journal")
    SqliteJournal(path, key=key).append("r1", begun())

    with pytest.raises(Damaged):
        SqliteJournal(path, key=Secret("another key", name="journal"))
    with pytest.raises(Damaged):
        SqliteJournal(path)


def test_a_journal_of_a_later_format_is_refused_by_name(path):
    write_some(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE about SET value = '2' WHERE name = 'format'")

    with pytest.raises(Damaged, match="format 2"):
        SqliteJournal(path)


def test_inspect_reads_what_can_be_read_and_says_what_to_trust(path):
    write_some(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE events SET run = 'r2' WHERE seq = 4")

    assert [trusted for *_, trusted in open_readable(path)] == [True] * 3 + [False] * 5


def test_a_form_of_database_that_this_sqlite_can_only_read_is_refused_as_damage(path):
    write_some(path)
    content = bytearray(path.read_bytes())
    content[18] = 9  # the file's "write version", sqlite.org/fileformat2.html
    path.write_bytes(content)

    with pytest.raises(Damaged, match="cannot be read"):
        SqliteJournal(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"not a database at all" * 100], ids=["empty", "zeros", "text"])
def test_a_file_that_is_no_journal_is_refused(path, content):
    write_some(path)
    path.write_bytes(content)

    with pytest.raises(Damaged):
        SqliteJournal(path)


def test_a_note_that_is_torn_twice_leaves_the_one_before_it(path):
    write_some(path)
    for _ in range(2):
        head = path.with_suffix(".head")
        journal = SqliteJournal(path)
        before = head.read_bytes()
        journal.append("r1", e.StepSkipped(step="a", reason="torn"))
        journal.close()
        after = head.read_bytes()
        [place] = [p for p in (0, 128) if before[p : p + 128] != after[p : p + 128]]
        head.write_bytes(after[: place + 64] + before[place + 64 : place + 128] + after[place + 128 :])

    assert len(list(SqliteJournal(path).records())) == 10


def outcome_of(path, expected):
    """`same` when every record is there, `refused`, or the exception that must never be."""
    list(open_readable(path))  # whatever the damage, it reads what it can
    try:
        journal = SqliteJournal(path)
        try:
            found = list(journal.records())
        finally:
            journal.close()
    except Damaged:
        return "refused"
    except DeployguardError as error:
        return f"unexpected {error!r}"
    return "same" if found == expected else f"wrong: {len(found)} records"


def damaged_copies(folder, damage):
    """Fresh copies of a killed writer's files, each damaged in one place."""
    original, live = folder / "original", folder / "live"
    live.mkdir()
    write_some(live / "journal.db", events=3)
    journal = SqliteJournal(live / "journal.db")
    journal.append("r1", e.StepSkipped(step="a", reason="the newest event stands in the WAL only"))
    expected = list(journal.records())
    # as a killed process leaves it: with its WAL
    shutil.copytree(live, original)
    journal.close()
    assert (original / "journal.db-wal").stat().st_size > 0
    for name in sorted(p.name for p in original.iterdir()):
        content = (original / name).read_bytes()
        for label, changed in damage(content):
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(original, copy)
            (copy / name).write_bytes(changed)
            yield f"{name} {label}", copy / "journal.db", expected


def flips(step, start=0):
    def damage(content):
        for at in range(start, len(content), step):
            changed = bytearray(content)
            changed[at] ^= 0x41
            yield f"flipped at {at}", bytes(changed)

    return damage


def cuts(step, start=0):
    def damage(content):
        for at in range(start, len(content), step):
            yield f"cut at {at}", content[:at]

    return damage


@pytest.fixture
def quick():
    """A folder in memory where there is one: thousands of journals are opened, and each opening is synced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize(("damage"), [flips(37, 11), cuts(211, 5)], ids=["flips", "cuts"])
def test_a_damaged_file_is_refused_or_says_the_same(quick, damage):
    outcomes = [(label, outcome_of(path, expected)) for label, path, expected in damaged_copies(quick, damage)]

    assert [o for o in outcomes if o[1] not in {"same", "refused"}] == []
    assert sum(1 for o in outcomes if o[1] == "refused") > 10


@pytest.mark.faults
@pytest.mark.parametrize(("damage"), [flips(1), cuts(1)], ids=["flips", "cuts"])
def test_every_damaged_byte_is_refused_or_says_the_same(quick, damage):
    outcomes = [(label, outcome_of(path, expected)) for label, path, expected in damaged_copies(quick, damage)]

    refused = sum(1 for o in outcomes if o[1] == "refused")
    print(f"{len(outcomes)} damaged, {refused} refused", file=sys.__stderr__, flush=True)
    assert [o for o in outcomes if o[1] not in {"same", "refused"}] == []


def test_what_says_whose_journal_it_is_may_be_spoilt_in_any_byte(quick):
    write_some(quick / "journal.db")
    content = (quick / "journal.db").read_bytes()
    with closing(sqlite3.connect(quick / "journal.db")) as raw:
        expected = [row[:2] for row in raw.execute("SELECT seq, run FROM events")]
        [[page]] = raw.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'about'")
        [[size]] = raw.execute("PRAGMA page_size")
    begin = (page - 1) * size
    outcomes = set()
    for at in (begin + n for n in range(size) if content[begin + n]):
        for value in (0, 1, 7, 8, 12, 13, 14, 255, content[at] ^ 1, content[at] ^ 0x80):
            copy = quick / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            shutil.copy(quick / "journal.head", copy)
            (copy / "journal.db").write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
            list(open_readable(copy / "journal.db"))
            try:
                journal = SqliteJournal(copy / "journal.db")
                assert [(r.seq, r.run) for r in journal.records()] == expected
                journal.close()
                outcomes.add("same")
            except Damaged:
                outcomes.add("refused")

    assert outcomes == {"same", "refused"}


def test_a_journal_in_another_ones_place_is_refused(path, tmp_path):
    write_some(path)
    (tmp_path / "theirs").mkdir()
    write_some(tmp_path / "theirs/journal.db", events=20)
    shutil.copyfile(tmp_path / "theirs/journal.db", path)

    with pytest.raises(Damaged, match=r"event 8 of the journal .* is not the one recorded"):
        SqliteJournal(path)


def test_what_was_appended_survives_the_death_of_the_writer(path):
    script = f"""
import os, signal, sys
from pathlib import Path
from deployguard.journal import events as e
from deployguard.journal.sqlite import SqliteJournal
j = SqliteJournal(Path({str(path)!r}))
j.append("r1", e.RunStarted(environment="s", name="n", runbook_digest="", plan_digest="", commit=None, target=None, actor="", host="", version="", steps=[{{"id": "a", "uses": "run"}}]))
for n in range(100):
    j.append("r1", e.StepSkipped(step="a", reason=str(n)))
    print(n, flush=True)
    if n == 50:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={**os.environ}
    )

    assert done.returncode == -9
    assert len(list(SqliteJournal(path).records())) == 52


FAILS_ONCE = """
import sys
from pathlib import Path
sys.path.insert(0, {faults!r})
import faulty
from deployguard.errors import NotRecorded
from deployguard.journal import events as e
from deployguard.journal.sqlite import SqliteJournal

class Once(faulty.Disk):
    armed = False
    def act(self, name, write_half):
        fails, self.armed = self.armed and name.startswith("sync"), self.armed and not name.startswith("sync")
        return 5 if fails else None

disk = Once()
faulty.Installed(disk)
journal = SqliteJournal(Path({path!r}))
journal.append("r1", e.RunStarted(environment="s", name="n", runbook_digest="", plan_digest="", commit=None, target=None, actor="", host="", version="", steps=[{{"id": "a", "uses": "run"}}]))
disk.armed = True
for number in range(3):
    try:
        journal.append("r1", e.StepSkipped(step="a", reason=str(number)))
        print("recorded")
    except NotRecorded as error:
        print("refused")
"""


def test_a_sync_that_failed_is_not_tried_again(path):
    """The kernel may drop what it could not write and call the next sync a success (PostgreSQL's fsync surprise)."""
    script = FAILS_ONCE.format(path=str(path), faults=str(Path(__file__).parents[1] / "faults"))

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["refused"] * 3, done.stderr
    journal = SqliteJournal(path)
    journal.append("r1", e.StepSkipped(step="a", reason="opened anew, it goes on from what is there"))
    journal.close()
