"""A journald of the test's own: the real one, with a folder of the test in /run's place."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from servers import with_us

_PROGRAMS = ("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald")


class Journald:
    """Write to it as programs do; its files are under `files`, for `journalctl --directory`."""

    def __init__(self, folder):
        program = next((each for each in _PROGRAMS if os.access(each, os.X_OK)), None)
        if program is None or not shutil.which("journalctl") or not shutil.which("unshare"):
            pytest.skip("there is no systemd-journald here")
        self.files, self._socket = folder / "log/journal", folder / "systemd/journal/socket"
        folder.mkdir()
        alone = [] if os.geteuid() == 0 else ["--map-root-user"]
        self._process = subprocess.Popen(
            ["unshare", *alone, "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$1"', folder, program],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=with_us,  # noqa: PLW1509 - no thread runs yet when it is started
        )  # fmt: skip
        until = time.monotonic() + 20
        while not (self._socket.exists() and list(self.files.glob("*/system.journal"))):
            if self._process.poll() is not None or time.monotonic() > until:
                pytest.skip(f"journald does not start here: {self.stop()[-300:]!r}")
            time.sleep(0.02)

    def write(self, *messages, **fields):
        """One entry each; on return they can be read."""
        if not messages:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            place = os.open(self._socket.parent, os.O_PATH)  # a socket's path has at most 107 bytes
            sender.connect(f"/proc/self/fd/{place}/{self._socket.name}")
            os.close(place)
            for message in messages:
                data = message if isinstance(message, bytes) else message.encode()
                more = "".join(f"{name}={value}\n" for name, value in {"SYSLOG_IDENTIFIER": "web", **fields}.items())
                sender.send(b"MESSAGE\n" + len(data).to_bytes(8, "little") + data + b"\n" + more.encode())
            sender.send(f"MESSAGE=mark\nMARK={(mark := time.monotonic_ns())}\n".encode())
        self._until(lambda: self._read(f"MARK={mark}"))

    def rotate(self):
        """Begin a new file, as journald does when one is full."""
        before = len(self.old())
        self._process.send_signal(signal.SIGUSR2)
        self._until(lambda: len(self.old()) > before)

    def old(self):
        """Files that are full."""
        return list(self.files.glob("*/system@*"))

    def vacuum(self):
        """Remove the files that are full, as journald does when there are too many."""
        for each in self.old():
            each.unlink()

    def stop(self):
        """End it; what it said of itself."""
        self._process.kill()
        return self._process.communicate()[1]

    def _read(self, *matches):
        return subprocess.run(
            ["journalctl", "--quiet", f"--directory={self.files}", "--output=cat", *matches],
            capture_output=True, check=True,
        ).stdout  # fmt: skip

    @staticmethod
    def _until(there):
        until = time.monotonic() + 20
        while not there():
            assert time.monotonic() < until
            time.sleep(0.01)


def journald_in(folder: Path):
    """Running in a folder that does not exist yet."""
    running = Journald(folder)
    yield running
    running.stop()
