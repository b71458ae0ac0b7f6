"""What steps found in databases of their own is told of each database, and proven only where all of them bear it out."""

import pytest
import stories

from deployguard.journal import events as e
from deployguard.report.build import build
from deployguard.report.render import render_markdown

TENANTS = ("acme", "globex")
KINDS = {"backup": "backup.create", "dry-run": "encryption.plan", "encrypt": "encryption.encrypt", "verify": "encryption.verify"}  # fmt: skip


def column(plaintext, rows=50):
    return {
        "table": "web_profile", "column": "email", "rows": rows, "null": 0, "empty": 0, "plaintext": plaintext,
        "primary": rows - plaintext, "older": 0, "unknown": 0, "nested": 0,
    }  # fmt: skip


@pytest.fixture
def story():
    """A run over two tenants that has ended; `left` says how many values of globex are plaintext still."""

    def told(*, left=0, state="restored", verified=TENANTS):
        steps = [
            {"id": f"{name}[{tenant}]", "uses": uses, "summary": "", "idempotent": True, "rollback": None, "target": {"database": tenant}}
            for name, uses in KINDS.items()
            for tenant in TENANTS
        ]  # fmt: skip
        story = stories.Story().add(
            e.RunStarted(
                environment="production", name="tenants", runbook_digest="r", plan_digest="p", commit=None, target=None, actor="anna",
                host="app-1", version="0.1.0", steps=steps,
            )
        )  # fmt: skip
        found = {
            "backup": lambda tenant: {"path": f"backups/{tenant}", "state": state if tenant == "globex" else "restored", "manifest_sha256": "c0ffee"},
            "dry-run": lambda _: {"columns": [column(50)]},
            "encrypt": lambda _: {"columns": []},
            "verify": lambda tenant: {"columns": [column(left if tenant == "globex" else 0)]},
        }  # fmt: skip
        for name, uses in KINDS.items():
            for tenant in verified if name == "verify" else TENANTS:
                step = f"{name}[{tenant}]"
                story.add(e.StepStarted(step=step, uses=uses, attempt=1))
                story.finish(step, "done", evidence=found[name](tenant))
        return build(story.add(e.RunFinished(state="succeeded")).records, stories.RUN)

    return told


def promise(report, words):
    return next(p for p in report.promises if words in p.promise)


def test_each_database_has_its_own_rows(story):
    assert [(c.name, c.plaintext) for c in story(left=2).columns] == [
        ("acme: web_profile.email", (50, 0)),
        ("globex: web_profile.email", (50, 2)),
    ]


@pytest.mark.parametrize(
    ("given", "status"),
    [({}, "proven"), ({"left": 2}, "contradicted"), ({"verified": ("acme",)}, "not proven")],
)
def test_no_plaintext_is_proven_only_for_all_of_them(story, given, status):
    assert promise(story(**given), "No plaintext").status == status


@pytest.mark.parametrize(("state", "status"), [("restored", "proven"), ("written", "not proven")])
def test_a_way_back_by_restore_is_proven_only_for_all_of_them(story, state, status):
    report = story(state=state)

    assert promise(report, "way back by restore").status == status
    text = render_markdown(report)
    for tenant in TENANTS:
        assert (
            f"everything written to the database of `{tenant}` since the backup was taken: `backups/{tenant}`" in text
        )
