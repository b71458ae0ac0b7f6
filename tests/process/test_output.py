import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from looking import CANARY

FLOOD = """
import json, resource, sys
from pathlib import Path
from deployguard.masking import Masker
from deployguard.process import base_environment, run
from deployguard.secret import Secret
def size(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096
masker = Masker([Secret('canary-secret-0123456789', name='canary')])
def go(script):
    lines, longest = [0], [0]
    def line(text): lines[0] += 1; longest[0] = max(longest[0], len(text))
    r = run(['sh', '-c', script], cwd=Path(sys.argv[1]), env=base_environment(), timeout=600, masker=masker,
            log=Path(sys.argv[1], 'log'), log_limit=1 << 20, on_line=line)
    return r, lines[0], longest[0]
go('echo')
resource_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
r, lines, longest = go(sys.argv[2])
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resource_before
print(json.dumps(dict(exit=r.exit, bytes=r.bytes_out, sha256=r.sha256, tail=r.tail, head=len(r.head), lines=lines,
                      longest=longest, grown=grown / 1024, seconds=r.seconds)))
"""


def flood(folder: Path, script: str) -> dict:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", FLOOD, str(folder), script],
        env={**os.environ, "PYTHONPATH": root},
        check=True,
        capture_output=True,
    )
    return json.loads(done.stdout)


def test_a_flood_is_drained_in_little_memory(tmp_path):
    found = flood(tmp_path, "yes | head -c 268435456; echo end")

    assert found["bytes"] == 268435456 + 4
    assert found["grown"] < 16, "MiB"
    assert found["tail"].startswith("[… 268,435,")
    assert found["tail"].endswith("y\nend")
    assert 0 < found["lines"] < 268435456 / 2 / 10
    log = (tmp_path / "log").read_bytes()
    assert len(log) < (1 << 20) + 200
    assert log.endswith(b"[deployguard: the log is full; 267,386,884 bytes more are not in it]\n")


def test_a_huge_line_is_drained_in_little_memory(tmp_path):
    found = flood(tmp_path, "head -c 134217728 /dev/zero | tr '\\0' x")

    assert found["bytes"] == 134217728
    assert found["grown"] < 16, "MiB"
    assert (found["lines"], found["longest"]) == (1, 4096 + len("… (134,217,728 bytes in this line)"))
    assert len(found["tail"]) < 9000


@pytest.mark.faults
@pytest.mark.parametrize(
    ("script", "size"),
    [("yes | head -c 10737418240", 10737418240), ("head -c 1073741824 /dev/zero", 1 << 30)],
    ids=["10 GiB", "a line of 1 GiB"],
)
def test_a_great_flood_is_drained_in_little_memory(tmp_path, script, size):
    found = flood(tmp_path, script)

    assert (found["exit"], found["bytes"]) == (0, size)
    assert found["grown"] < 16, "MiB"


def test_all_bytes_are_in_the_log_and_visible_in_the_tail(python, tmp_path):
    result = python("import sys; sys.stdout.buffer.write(bytes(range(256)))", log=tmp_path / "log")

    assert (tmp_path / "log").read_bytes() == bytes(range(256))
    assert result.sha256 == hashlib.sha256(bytes(range(256))).hexdigest()
    assert r"\x00\x01" in result.head
    assert r"\x1b" in result.tail
    assert r"\xff" in result.tail
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", result.tail + result.head)


def test_the_tail_is_the_last_forty_lines_and_the_head_the_first_bytes(shell):
    result = shell("seq 100000")

    lines = result.tail.splitlines()
    assert (
        lines[0] == f"[… {result.bytes_out - 40 * 7 - 1 + 40 - 41 + 2:,} bytes before this]"
        or "bytes before" in lines[0]
    )
    assert lines[1:] == [str(n) for n in range(99961, 100001)]
    assert result.head.startswith("1\n2\n3\n")
    assert len(result.head) == 8192


def test_the_note_of_the_tail_counts_exactly_what_is_not_shown(shell):
    result = shell("seq 50")

    assert result.tail == "[… 21 bytes before this]\n" + "\n".join(map(str, range(11, 51)))


@pytest.mark.parametrize("shift", range(4))
def test_ends_are_not_cut_inside_a_character(python, shift):
    result = python(f"print('.' * {shift} + '€' * 20000)")

    assert "\\x" not in result.head + result.tail


def test_lines_are_given_as_they_are_written(python):
    lines = []

    python(f"import sys; print('one'); print('two {CANARY[:9]}'+'{CANARY[9:]}\\x1b[0m'); sys.stdout.write('three')",
           on_line=lines.append)  # fmt: skip

    assert lines == ["one", r"two ***\x1b[0m", "three"]


def test_a_line_is_given_before_the_command_ends(shell):
    seen = []

    result = shell("echo ready; sleep 100", on_line=seen.append, should_stop=lambda: seen == ["ready"], timeout=10.0)

    assert result.stopped


def test_of_many_lines_at_once_the_ends_are_given_and_the_rest_counted(python):
    lines = []

    python("import os; os.write(1, b''.join(b'%d\\n' % n for n in range(10000)))", on_line=lines.append)

    notes = [int(re.sub(r"\D", "", line)) for line in lines if "not shown" in line]
    assert len(lines) - len(notes) + sum(notes) == 10000
    assert (lines[0], lines[-1]) == ("0", "9999")
    assert len(lines) < 600


def test_long_lines_are_cut_with_a_mark_and_short_ones_are_not(python):
    lines = []

    python("print('x' * 4096); print('y' * 4097); print('€' * 4096)", on_line=lines.append)

    assert lines == [
        "x" * 4096,
        "y" * 4096 + "… (4,097 bytes in this line)",
        "€" * 1365 + "… (12,288 bytes in this line)",
    ]


def test_a_secret_written_in_two_pieces_is_nowhere(python, tmp_path):
    lines = []

    result = python(
        f"import os, time\nfor piece in (b'a {CANARY[:5]}', b'{CANARY[5:]} b\\n'): os.write(1, piece); time.sleep(0.1)",
        on_line=lines.append, log=tmp_path / "log",
    )  # fmt: skip

    assert (tmp_path / "log").read_bytes() == b"a *** b\n"
    assert (lines, result.tail, result.head) == (["a *** b"], "a *** b", "a *** b\n")
    assert result.sha256 == hashlib.sha256(b"a *** b\n").hexdigest()


def test_the_log_is_made_at_the_first_byte_readable_by_its_owner_alone(shell, tmp_path):
    assert shell("true", log=tmp_path / "log").log is None
    assert not (tmp_path / "log").exists()

    before = os.umask(0)
    try:
        assert shell("echo hi", log=tmp_path / "log").log == tmp_path / "log"
    finally:
        os.umask(before)
    shell("echo again", log=tmp_path / "log")

    assert (tmp_path / "log").read_text() == "hi\nagain\n"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "full disk"])
def test_a_log_that_cannot_be_written_is_said_and_does_not_end_the_command(shell, tmp_path, kind):
    log = tmp_path / "log"
    match kind:
        case "link":
            log.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(log)
        case "folder":
            log.mkdir()
        case "full disk":
            log = Path("/dev/full")

    result = shell("echo hi; echo more", log=log)

    assert (result.exit, result.bytes_out) == (0, 8)
    assert result.tail.startswith("hi\nmore\n[deployguard: the log is incomplete: ")
    assert not (tmp_path / "elsewhere").exists()
