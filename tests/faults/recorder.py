"""Writes a journal on a disk that remembers every write and sync in order; pickles what it saw to standard output."""

import pickle
import sys
from pathlib import Path

import faulty

from deployguard.journal import events as e
from deployguard.journal.sqlite import SqliteJournal

acts = []


class Remembered(faulty.Installed):
    """Notes everything on its way to the disk."""

    def wrote(self, path, at, data):
        acts.append(("write", Path(path).name, at, data))

    def synced(self, path):
        acts.append(("sync", Path(path).name))

    def cut(self, path, size):
        acts.append(("cut", Path(path).name, size))

    def _deleted(self, vfs, name, sync_folder):
        acts.append(("delete", Path(faulty.text_at(name)).name))
        return super()._deleted(vfs, name, sync_folder)


def written(path, sessions=3, events=12):
    number = 0
    for session in range(sessions):
        journal = SqliteJournal(path)
        acts.append(("acknowledged", number))
        for _ in range(events):
            if number == 0:
                journal.append("r", e.RunStarted(environment="s", name="n", runbook_digest="", plan_digest="", commit=None, target=None, actor="", host="", version="", steps=[{"id": "a", "uses": "run"}]))  # fmt: skip
            else:
                journal.append("r", e.StepSkipped(step="a", reason=f"{number} " + "x" * (997 * number % 6000)))
            number += 1
            acts.append(("acknowledged", number))
            if number % 3 == 0:  # not promised to survive; the next one acknowledges it too
                journal.append("r", e.ProcessStarted(step="a", pid=number, pid_started=0.0))
                number += 1
        if session < sessions - 1:
            journal.close()  # writes everything back into the main file


if __name__ == "__main__":
    Remembered(faulty.Disk())
    written(Path(sys.argv[1]) / "journal.db")
    sys.stdout.buffer.write(pickle.dumps(acts))
