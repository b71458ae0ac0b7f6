"""What the documents say of other files is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]*)(?:#([^)]*))?\)")


def links(document):
    for text, target, anchor in LINK.findall(document.read_text("utf-8")):
        if target and "://" not in target:
            yield text, (document.parent / target).resolve(), anchor


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    missing = [str(target) for _, target, _ in links(document) if not target.exists()]

    assert missing == []


def test_each_line_that_the_guide_names_says_what_it_is_named_for():
    runbook = (ROOT / "runbook.yaml").read_text("utf-8").splitlines()
    named = [(text.strip("`"), int(anchor[1:])) for text, _, anchor in links(ROOT / "docs/guide.md") if anchor]

    assert len(named) > 20
    assert [(text, line) for text, line in named if text not in runbook[line - 1]] == []
