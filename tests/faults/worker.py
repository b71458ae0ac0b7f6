"""Carries out one command of a person in a process of its own, with a fault or without: started once, forks for each.

One JSON object per line in, one out:

    {"folder": …, "do": "deploy" | "resume", "kind": …, "at": …, "decide": {…}}
    {"killed": bool, "end": state or error class, "exit": code, "acts": n, "fired": bool, "steps": […]}
"""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import faulty
import twelve

from deployguard.engine.deploy import EXIT, latest
from deployguard.errors import DeployguardError, NeedsPerson
from deployguard.journal.sqlite import SqliteJournal


def carried_out(job):
    folder = Path(job["folder"])
    disk = faulty.FaultyDisk(job["kind"], job["at"]) if job.get("kind") else faulty.Disk()
    faulty.Installed(disk)
    project = twelve.Project(folder)
    try:
        if job["do"] == "resume" and begun(folder):
            state = project.resume(decisions=job.get("decide") or {}).state
        else:
            state = project.deploy().state
        end = {"end": state, "exit": EXIT[state]}
    except NeedsPerson as error:
        end = {"end": "NeedsPerson", "exit": error.exit_code, "steps": list(error.steps)}
    except DeployguardError as error:
        end = {"end": type(error).__name__, "exit": error.exit_code, "message": error.message}
    return {**end, "killed": False, "acts": disk.acts, "fired": getattr(disk, "fired", False), "names": disk.names}


def begun(folder):
    """Whether a run is on record that `deploy --resume` would go on with."""
    if not (folder / ".deployguard" / "journal.db").exists():
        return False
    journal = SqliteJournal(folder / ".deployguard" / "journal.db")
    try:
        return latest(journal, "staging") is not None
    finally:
        journal.close()


def in_a_child(job):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(120)
        try:
            os.chdir(job["folder"])
            answer = carried_out(job)
        except BaseException as error:  # noqa: BLE001 - a traceback is what is looked for
            import traceback

            answer = {
                "killed": False,
                "end": "traceback",
                "exit": 1,
                "message": f"{error!r} {traceback.format_exc()}",
                "fired": True,
            }
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"killed": True, "end": signal.Signals(os.WTERMSIG(status)).name, "exit": None, "fired": True}
    return json.loads(said)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(in_a_child(json.loads(line))), flush=True)
