"""A runbook of twelve steps with effects outside deployguard, and what must be true of them at the end."""

import sqlite3
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from projects import Project, e

PYTHON = [sys.executable, "-ISc"]


def sh(name, command, **keys):
    """A step that notes that it runs before it does anything."""
    check = keys.pop("check", None)
    given = {"check": ["/bin/sh", "-c", check]} if isinstance(check, str) else {"check": check} if check else {}
    return {"id": name, "run": ["/bin/sh", "-eu", "-c", f"echo {name} >> noted; {command}"], **given, **keys}


def sql(name, statement, question=None, **keys):
    """A step that changes a database; `question` gives a row when that is done."""
    code = f"open('noted', 'a').write('{name}\\n')\nimport sqlite3\nc = sqlite3.connect('world.db', timeout=30)\n"
    work = f"{code}c.execute({statement!r})\nc.commit()"
    check = (
        f"import sqlite3, sys\nc = sqlite3.connect('world.db')\nsys.exit(c.execute({question!r}).fetchone() is None)"
    )
    return {"id": name, "run": [*PYTHON, work], **({"check": [*PYTHON, check]} if question else {}), **keys}


STEPS = (
    sh("folder", "mkdir -p made", idempotent=True),
    sh("file", "printf 'a file' > made/file", idempotent=True),
    sh("ledger", "echo ledger >> made/ledger", check="grep -qs ^ledger made/ledger"),
    sql("table", "CREATE TABLE IF NOT EXISTS people (name TEXT)", idempotent=True),
    sql("row", "INSERT INTO people VALUES ('ann')", "SELECT 1 FROM people WHERE name = 'ann'"),
    sh("once", "echo once >> made/once"),
    sh("child", "(sleep 0.02; echo child >> made/child) & wait", check="grep -qs ^child made/child"),
    sh("size", 'echo size=3 >> "$DEPLOYGUARD_OUTPUT"', outputs=["size"], idempotent=True),
    sh("sized", 'echo "$SIZE" > made/sized', env={"SIZE": "${{ steps.size.outputs.size }}"}, idempotent=True),
    sh("flaky", "test -e made/tried || { touch made/tried; exit 1; }", idempotent=True, retry={"attempts": 3, "delay": "1ms"}),
    sh("allowed", "echo allowed >> made/allowed; exit 3", continue_on_error=True, check="grep -qs ^allowed made/allowed"),
    sh("last", "echo last >> made/last"),
)  # fmt: skip


def each(name, command, **keys):
    """A step for each of six items, three of them at work at the same time."""
    text = f'step="{name}[$ITEM]"; echo "$step" >> noted; {command}'
    return {
        "id": name, "matrix": {"item": list("abcdef")}, "max_parallel": 3, "env": {"ITEM": "${{ matrix.item }}"},
        "run": ["/bin/sh", "-eu", "-c", text], **keys,
    }  # fmt: skip


ITEMS = (
    sh("folder", "mkdir -p made", idempotent=True),
    each("sure", 'echo "$ITEM" > "made/$step"', idempotent=True),
    each("once", 'echo "$ITEM" >> "made/$step"'),
    each("seen", 'echo "$ITEM" >> "made/$step"', check=["/bin/sh", "-c", 'test -s "made/seen[$ITEM]"']),
)


def project_of_items(folder):
    """The same promises for a matrix."""
    return Project(folder).write(*ITEMS, environment={"on_failure": "stop"})


def project(folder):
    """The runbook in a folder of its own; on failure it stops, so that nothing hides what was done."""
    return Project(folder).write(*STEPS, environment={"on_failure": "stop"})


def failing_project(folder):
    """The same with an undo for each step, and a thirteenth that always fails: everything must be undone."""
    undo = {"table": "DROP TABLE IF EXISTS people", "row": "DELETE FROM people WHERE name = 'ann'"}
    steps = []
    for step in STEPS:
        name = step["id"]
        if name in undo:
            code = f"import sqlite3\nc = sqlite3.connect('world.db', timeout=30)\nc.execute({undo[name]!r})\nc.commit()"
            run = [*PYTHON, code]
        else:
            run = ["/bin/sh", "-c", "rm -rf made" if name == "folder" else f"rm -f made/{name} made/tried"]
        steps.append({**step, "rollback": {"run": run}})
    return Project(folder).write(*steps, sh("fails", "exit 1", idempotent=True))


def left_over(folder):
    """What a rollback should have taken away: must be nothing."""
    made = [p.name for p in Path(folder).glob("made*")]
    with sqlite3.connect(Path(folder) / "world.db") as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
    database.close()
    return [*made, *tables]


def noted(folder):
    """How often each step ran, as the steps themselves say."""
    path = Path(folder) / "noted"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def world(folder):
    """Everything that the runbook is about: the files it made and the rows it wrote."""
    folder = Path(folder)
    files = {p.name: p.read_text() for p in sorted((folder / "made").glob("*"))}
    if not (folder / "world.db").exists():
        return files, []
    with sqlite3.connect(folder / "world.db") as database:
        rows = database.execute("SELECT name FROM people").fetchall()
    database.close()
    return files, rows


def without_intent(folder):
    """Steps that ran more often than their intent is on record: must be none."""
    path = Path(folder) / ".deployguard" / "journal.db"
    intents = Counter(r.step for r in Project(Path(folder)).recorded(e.StepStarted)) if path.exists() else Counter()
    return noted(folder) - intents


def begun_after_its_end(folder):
    """Steps that were begun again after their end was on record: must be none."""
    ended, again = set(), []
    for record in Project(Path(folder)).records():
        step = getattr(record.event, "step", None)
        if isinstance(record.event, e.StepFinished):
            ended.add(step)
        elif isinstance(record.event, e.StepStarted) and step in ended:
            again.append(step)
    return again
