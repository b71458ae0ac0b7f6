"""Runs as a journal would hold them: the guide, carried out on a small site, with its good and bad ends."""

from datetime import UTC, datetime, timedelta

from deployguard.journal import events as e
from deployguard.journal.base import Record

RUN = "production-20260306-140502-9f2c"
STAGING = "staging-20260305-101500-a1b2"
COLUMNS = [("web_profile", "email"), ("web_profile", "discord_username"), ("web_order", "shipping_address")]
MIGRATION = "0063_add_encryption_to_personal_data"
PLAINTEXT = "3 values of web_order.shipping_address are plaintext"
STEPS = [
    ("backup", "backup.create", "Take a backup, restore it, compare it", "backup.restore"),
    ("code", "git.update", "Bring the new commit", "git.update"),
    ("dependencies", "python.install", "Install what it needs", "python.install"),
    ("migrate", "django.migrate", "Bring the schema to 0063", "django.migrate"),
    ("dry-run", "encryption.plan", "Count what will be encrypted", None),
    ("encrypt", "encryption.encrypt", "Encrypt the existing rows", "encryption.decrypt"),
    ("verify", "encryption.verify", "Read every row again", None),
    ("tests", "run", "The application's own tests", None),
    ("monitor", "monitor", "Watch the log and the page", None),
]
DEFINITION = {
    "version": 1,
    "name": "encrypt-personal-data",
    "summary": "Encrypt personal data at rest in the web application",
    "file": "runbook.yaml",
    "steps": [{"id": "backup", "uses": "backup.create", "rollback": {"uses": "backup.restore", "when": "requested"}}],
    "after": {
        "checklist": [
            "Check that new data is encrypted",
            {"task": "Watch error rates", "due": "+48h"},
            {"task": "Train the team on key management", "due": "2026-04-01"},
            {"task": "Schedule the first key rotation", "due": "+180d"},
        ]
    },
}


class Story:
    """A journal that grows an event at a time."""

    def __init__(self, run=RUN, environment="production", begin=datetime(2026, 3, 6, 14, 5, 2, tzinfo=UTC), records=()):
        self.records = list(records)
        self.run, self.environment, self.now = run, environment, begin

    def add(self, *events, after=0.0):
        for event in events:
            self.now += timedelta(seconds=after)
            at = self.now.isoformat(timespec="milliseconds")
            self.records.append(Record(len(self.records) + 1, self.run, at, event))
        return self

    def start(self, steps=STEPS, definition=DEFINITION, **facts):
        usual = {
            "environment": self.environment,
            "name": "encrypt-personal-data",
            "runbook_digest": "3f" * 32,
            "plan_digest": "a7" * 32,
            "commit": "4be1c02f9d7a6c55e0b8d1f3a2c4e6f8091a2b3c",
            "actor": "anna",
            "host": "app-1",
            "version": "0.1.0",
            "target": {
                "engine": "sqlite",
                "version": "3.45.1",
                "database": "/srv/site/db.sqlite3",
                "host": "app-1",
                "server_id": "e41d7c",
            },
            "definition": definition,
            "steps": [
                {"id": i, "uses": u, "summary": s, "idempotent": True, "rollback": r, "commands": []}
                for i, u, s, r in steps
            ],
        }
        return self.add(e.RunStarted(**{**usual, **facts}))

    def check(self, name, summary, status="pass", hint="", seconds=0.2, **evidence):
        return self.add(
            e.CheckFinished(
                check=name, uses=name, status=status, summary=summary, hint=hint, seconds=seconds, evidence=evidence
            ),
            after=seconds,
        )

    def checks(self):
        key = {
            "name": "encryption_key",
            "fingerprint": "fp:7c1f9a02",
            "source": "environment variable MESSAGE_ENCRYPTION_KEY",
        }
        self.check("key.check", "encryption_key fp:7c1f9a02", keys=[key])
        self.check("git.clean", "nothing is changed or untracked")
        self.check("disk.space", "18,204 MiB free, 512 MiB needed", "warn", "Less than a tenth of the disk is free.")
        self.check("encryption.readiness", "12 columns, handshake done", seconds=2.1, handshake=True, columns=counts())
        return self.add(e.LeaseTaken(environment=self.environment, fence=7, host="app-1", pid=4711, pid_started=1.0))

    def begin(self, step, *commands, attempt=1):
        uses = next(u for i, u, *_ in STEPS if i == step)
        return self.add(e.StepStarted(step=step, uses=uses, attempt=attempt, commands=list(commands)), after=0.05)

    def finish(self, step, summary, seconds=1.0, attempt=1, **facts):
        return self.add(
            e.StepFinished(step=step, attempt=attempt, summary=summary, seconds=seconds, **facts), after=seconds
        )

    def step(self, step, summary, *commands, seconds=1.0, **facts):
        return self.begin(step, *commands).finish(step, summary, seconds, **facts)

    def until_encrypted(self):
        self.start().checks()
        self.step(
            "backup",
            "5,000 people in 3.1 MiB, restored and compared",
            seconds=2.2,
            evidence={
                "path": f".deployguard/backups/{self.run}",
                "state": "restored",
                "bytes": 3_250_000,
                "encrypted": False,
                "rows": {"web_profile": 5000, "web_order": 5000},
                "manifest_sha256": "c0ffee" * 10 + "beef",
                "recipients": [],
            },
        )
        self.step(
            "code",
            "1a2b3c4d5e6f → 4be1c02f9d7a (2 commits)",
            "git fetch origin",
            "git merge --ff-only 4be1c02f9d7a",
            evidence={
                "from": "1a2b3c4d5e6f7081",
                "to": "4be1c02f9d7a6c55",
                "subject": "Encrypt personal data",
                "commits": 2,
            },
        )
        self.begin("dependencies", "pip install -r requirements.txt")
        self.add(
            e.StepFailed(
                step="dependencies",
                attempt=1,
                error="pip install: exit status 1",
                hint="The index could not be reached.",
                final=False,
                command_exit=1,
                tail="ERROR: Could not reach the index\nERROR: giving up",
                log=f"runs/{self.run}/dependencies.log",
                seconds=4.0,
            ),
            after=4.0,
        )
        self.begin("dependencies", "pip install -r requirements.txt", attempt=2)
        self.finish(
            "dependencies",
            "cryptography 45.0.1, django-encrypted-model-fields 0.6.5",
            6.4,
            attempt=2,
            command_exit=0,
            evidence={
                "tool": "pip",
                "changed": {"cryptography": ["44.0.2", "45.0.1"], "django-encrypted-model-fields": [None, "0.6.5"]},
            },
        )
        self.step(
            "migrate",
            "web: 0062 → 0063",
            "python manage.py migrate web 0063 --noinput",
            command_exit=0,
            seconds=1.7,
            tail="Running migrations:\n  Applying web.0063_add_encryption_to_personal_data... OK",
            evidence={"app": "web", "from": "0062_order", "to": MIGRATION, "applied": [MIGRATION]},
        )
        self.step("dry-run", "13,500 of 15,000 values to encrypt", evidence={"columns": counts(), "rows": 13500})
        return self.step(
            "encrypt",
            "13,500 values encrypted",
            seconds=9.3,
            evidence={"columns": worked(), "rows": 13500, "seconds": 9.3, "rate": 1451.6, "passes": 2},
        )

    def until_watched(self):
        self.until_encrypted()
        self.step("verify", "15,000 values, none plaintext", evidence={"columns": counts(encrypted=True)}, seconds=1.4)
        self.step(
            "tests",
            "exit status 0",
            "python manage.py test web.tests.test_encryption",
            command_exit=0,
            tail="Ran 6 tests\nOK",
        )
        self.begin("monitor").add(
            e.Sampled(step="monitor", condition="log app.log", ok=True, value="0 matching lines", elapsed=1.0), after=1
        )
        return self

    def fail_verify(self):
        self.until_encrypted().begin("verify")
        return self.add(
            e.StepFailed(step="verify", attempt=1, error=PLAINTEXT, hint="Stop what writes there.", seconds=1.2),
            after=1.2,
        )

    def undo(self, *steps, stuck="", **how):
        self.add(e.RollbackStarted(reason=PLAINTEXT, actor="anna", **how), after=0.1)
        for step in steps:
            self.add(e.CompensationStarted(step=step, uses="x", attempt=1), after=0.1)
            if step == stuck:
                self.add(
                    e.CompensationFailed(
                        step=step,
                        error="somebody has edited web/models.py since",
                        left="Put web/models.py aside, then run the command below.",
                        seconds=0.4,
                    ),
                    after=0.4,
                )
            else:
                self.add(
                    e.CompensationFinished(
                        step=step, summary=f"{step} is undone", seconds=2.0, evidence={"rows": 13500}
                    ),
                    after=2.0,
                )
        return self

    def end(self, state, reason=""):
        return self.add(e.RunFinished(state=state, reason=reason), after=0.01)


def counts(*, encrypted=False):
    tokens = {"plaintext": 0, "primary": 4600} if encrypted else {"plaintext": 4500, "primary": 100}
    return [
        {
            "table": t,
            "column": c,
            "rows": 5000,
            "null": 300,
            "empty": 100,
            "older": 0,
            "unknown": 0,
            "nested": 0,
            "bytes": 552_000 if encrypted else 96_000,
            "bytes_after": 552_000,
            "too_wide": 0,
            **tokens,
        }
        for t, c in COLUMNS
    ]


def worked():
    return [
        {"table": t, "column": c, "rows": 5000, "changed": 4500, "bytes_before": 96_000, "bytes_after": 552_000}
        for t, c in COLUMNS
    ]


def staged():
    story = Story(STAGING, "staging", datetime(2026, 3, 5, 10, 15, tzinfo=UTC)).until_watched()
    return story.finish("monitor", "2 conditions held for 3.0 s", 3.0).end("succeeded").records


def succeeded():
    story = Story(records=staged()).until_watched()
    story.finish(
        "monitor",
        "2 conditions held for 24 h 00 min",
        6.0,
        evidence={
            "seconds": 86400.0,
            "conditions": [{"name": "log app.log", "ok": True, "samples": 2880, "failures": 0}],
        },
    )
    return story.end("succeeded")


def rolled_back():
    return (
        Story()
        .fail_verify()
        .undo("encrypt", "migrate", "dependencies", "code")
        .end("rolled_back", "3 values are plaintext")
    )


def rollback_incomplete():
    return (
        Story()
        .fail_verify()
        .undo("encrypt", "migrate", "dependencies", "code", stuck="code")
        .end("rollback_incomplete", "3 values are plaintext")
    )


def restored():
    return Story().fail_verify().undo("dependencies", "code", "backup", via="restore").end("rolled_back", PLAINTEXT)


def undoing():
    return Story().fail_verify().undo("encrypt", to="backup", via="restore")


def failed():
    return Story().fail_verify().end("failed", PLAINTEXT)


def dead():
    return Story().until_encrypted().begin("verify")


def interrupted():
    return (
        dead()
        .add(e.StepInterrupted(step="verify", reason="stopped on request"), after=1)
        .end("interrupted", "stopped on request")
    )


def waiting():
    story = Story().until_watched()
    story.add(
        e.StepWaiting(step="monitor", reason="watching until tomorrow", until="2026-03-07T14:05:40.000+00:00"), after=1
    )
    return story.end("waiting", "watching until tomorrow")


def refused():
    story = (
        Story()
        .start()
        .check(
            "key.check",
            "MESSAGE_ENCRYPTION_KEY has 43 characters, not 44",
            "fail",
            "Generate one: deployguard keys generate.",
        )
    )
    return story.end("refused", "a check said no; nothing was changed")


def preflight():
    story = Story().start(steps=[])
    return story.check("key.check", "fine").check("git.clean", "fine").end("succeeded")


def nothing_to_do():
    return Story().start(steps=[], definition={}, target=None, commit=None).end("succeeded")


def running():
    return Story().start()


def overridden():
    story = succeeded()
    last = story.records.pop()
    story.add(e.DecisionTaken(step="monitor", decision="override", who="bob", why="the page is known to be slow"))
    return story.add(last.event)


ALL = {
    f.__name__: f
    for f in (
        succeeded,
        rolled_back,
        rollback_incomplete,
        restored,
        undoing,
        failed,
        dead,
        interrupted,
        waiting,
        refused,
        preflight,
        nothing_to_do,
        running,
        overridden,
    )
}
