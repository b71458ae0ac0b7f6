"""What a step costs, as ratios within one run: ours, a loop of subprocess.run, a shell script, sh, ansible-playbook.

    python benchmarks/engine.py [--steps 300] [--many 10000] [--ansible PATH]

Every step is the same command, /bin/true. Each way runs in a process of its own, in turn, so that all
see the same machine:

- subprocess: subprocess.run in a loop; durable: with two synced writes around each, as our journal makes
- shell script: /bin/sh carries the commands out
- sh: the library of that name
- ansible: `ansible-playbook -c local`, where one is installed (30 steps; its start is not counted)
- deployguard: a run as `deploy` makes it, all events durable, output captured

Then one runbook of 10,000 steps: seconds to read it, median of a step, seconds for both reports, and
memory against a runbook of a tenth. Prints a table and writes .benchmarks/engine.json.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import datetime
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "engine")]

TRUE = "/bin/true"
GOALS = {"above sh": 1.0, "of ansible": 1 / 30, "parse": 3.0, "step": 5.0, "report": 10.0}


def in_child(work, *arguments):
    """What `work` returns, and the process's greatest memory in MiB."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            answer = work(*arguments)
            answer["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            os.write(writing, json.dumps(answer).encode())
            status = 0
        except Exception:  # noqa: BLE001 - it is shown, and the parent notices that there is no answer
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return json.loads(said)


def each(seconds, steps):
    return {"ms": 1000 * seconds / steps}


def by_subprocess(_, steps):
    begun = time.perf_counter()
    for _ in range(steps):
        subprocess.run([TRUE], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return each(time.perf_counter() - begun, steps)


def by_subprocess_durable(folder, steps):
    fd = os.open(folder / "durable", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    begun = time.perf_counter()
    for number in range(steps):
        for word in ("begun", "ended"):
            if word == "ended":
                subprocess.run([TRUE], stdin=subprocess.DEVNULL, capture_output=True, check=True)
            os.write(fd, f"{number} {word}\n".ljust(200).encode())
            os.fdatasync(fd)
    return each(time.perf_counter() - begun, steps)


def by_shell_script(folder, steps):
    (folder / "script").write_text(f"{TRUE}\n" * steps)
    begun = time.perf_counter()
    subprocess.run(["/bin/sh", "-e", folder / "script"], check=True)
    return each(time.perf_counter() - begun, steps)


def by_sh(_, steps):
    import sh

    true = sh.Command(TRUE)
    begun = time.perf_counter()
    for _ in range(steps):
        true()
    return each(time.perf_counter() - begun, steps)


def by_ansible(folder, steps, program):
    def play(number):
        tasks = [{"command": TRUE} for _ in range(number)]
        interpreter = f"ansible_python_interpreter={sys.executable}"
        (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        begun = time.perf_counter()
        subprocess.run(
            [program, "-c", "local", "-i", "localhost,", "-e", interpreter, folder / "play.yml"],
            env={**os.environ, "ANSIBLE_HOME": str(folder / "ansible")}, capture_output=True, check=True,
        )  # fmt: skip
        return time.perf_counter() - begun

    return each(play(steps + 1) - play(1), steps)


def by_deployguard(folder, steps):
    from deployguard.clock import SystemClock
    from deployguard.engine.deploy import Session, deploy
    from deployguard.engine.plan import make_plan
    from deployguard.engine.target import make_target
    from deployguard.journal.home import open_home
    from deployguard.journal.sqlite import SqliteJournal
    from deployguard.report.build import build
    from deployguard.report.render import write_reports
    from deployguard.runbook.load import load_runbook
    from deployguard.secret_sources import SOURCES
    from deployguard.steps import all_kinds

    lines = [f"  - id: step-{n}\n    run: {TRUE}\n    idempotent: true\n" for n in range(steps)]
    text = "version: 1\nname: many\nenvironments: { here: {} }\nsteps:\n" + "".join(lines)
    (folder / "runbook.yaml").write_text(text)
    begun = time.perf_counter()
    runbook = load_runbook(folder / "runbook.yaml", all_kinds(), SOURCES, begins=True)
    parsed = time.perf_counter() - begun
    plan = make_plan(runbook, "here", all_kinds(), env={})
    planned = time.perf_counter() - begun
    target = make_target(plan, open_home(folder / ".deployguard"), SystemClock())
    journal = SqliteJournal(target.home.journal)
    begun = time.perf_counter()
    state = deploy(Session(plan, target, journal))
    took = time.perf_counter() - begun
    assert state.state == "succeeded"
    records = list(journal.records())
    starts = [datetime.fromisoformat(r.at).timestamp() for r in records if type(r.event).__name__ == "StepStarted"]
    apart = [1000 * (b - a) for a, b in pairwise(starts)]
    begun = time.perf_counter()
    write_reports(build(records, state.id), folder / "reports", ("md", "html"))
    reported = time.perf_counter() - begun
    journal.close()
    return {
        **each(took, steps), "parse": parsed, "plan": planned, "median": statistics.median(apart), "report": reported,
        "first": statistics.median(apart[: steps // 10]), "last": statistics.median(apart[-steps // 10 :]),
    }  # fmt: skip


def compared(folder, steps, ansible):
    """Each way in turn, three rounds, the best of each."""
    ways = {
        "subprocess.run in a loop": by_subprocess, "… with two durable writes": by_subprocess_durable,
        "shell script": by_shell_script, "sh": by_sh, "deployguard": by_deployguard,
    }  # fmt: skip
    found = {name: [] for name in ways}
    for number in range(3):
        for name, way in ways.items():
            place = folder / f"{number}-{way.__name__}"
            place.mkdir()
            found[name].append(in_child(way, place, steps)["ms"])
    best = {name: min(rounds) for name, rounds in found.items()}
    if ansible:
        place = folder / "ansible-playbook"
        place.mkdir()
        best["ansible-playbook -c local"] = in_child(by_ansible, place, 30, ansible)["ms"]
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--ansible", default=shutil.which("ansible-playbook"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        best = compared(folder, given.steps, given.ansible)
        few, many = folder / "few", folder / "many"
        few.mkdir()
        many.mkdir()
        tenth = in_child(by_deployguard, few, given.many // 10)
        whole = in_child(by_deployguard, many, given.many)
    ours = best["deployguard"]
    print(f"{'a step of /bin/true':<28} {'ms':>8} {'ours is':>9}")
    for way, cost in best.items():
        print(f"{way:<28} {cost:8.2f} {ours / cost:8.2f}x")
    print(f"above sh: {ours - best['sh']:+.2f} ms (goal: at most +{GOALS['above sh']:.0f})")
    if given.ansible:
        print(f"of ansible: 1/{best['ansible-playbook -c local'] / ours:.0f} (goal: at most 1/30)")
    else:
        print("of ansible: not measured, ansible-playbook is not installed")
    print(f"\n{given.many:,} steps")
    print(f"{'read and check':<28} {whole['parse']:8.2f} s   (goal: under 3)")
    ends = f"first tenth {whole['first']:.2f}, last {whole['last']:.2f}"
    print(f"{'step, median':<28} {whole['median']:8.2f} ms  (goal: under 5); {ends}")
    print(f"{'both reports':<28} {whole['report']:8.2f} s   (goal: under 10)")
    print(f"{'memory':<28} {whole['MiB']:8.0f} MiB (a tenth of the steps: {tenth['MiB']:.0f})")
    out = ROOT / ".benchmarks"
    out.mkdir(exist_ok=True)
    (out / "engine.json").write_text(
        json.dumps({"ms": best, "many": whole, "tenth": tenth, "steps": given.many}, indent=2)
    )


if __name__ == "__main__":
    main()
