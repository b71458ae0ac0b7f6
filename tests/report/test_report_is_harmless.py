import html.parser
import re
from dataclasses import replace

import pytest
import stories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from deployguard.journal import events as e
from deployguard.report.build import build
from deployguard.report.render import render_html, render_markdown

HOSTILE = [
    "\x1b[31mred\x1b]8;;http://evil.test\x07link\x1b]8;;\x07\x1b]52;c;AAAA\x07",
    "`code` ``more`` ```\n## heading\n```",
    "a | b | c\n|---|---|\n| d |",
    "<script>alert(1)</script><img src=x onerror=alert(1)></details></pre>",
    "{{7*7}} {% for x in y %} {{ report.__class__ }}",
    "\u202eevil\u202c \u2066x\u2069 \u200f",
    "![image](http://evil.test/x.png) [link](http://evil.test) <http://evil.test>",
    "# heading\n> quote\n- list\n1. one\n---\n***",
    "~~~\nfence\n~~~",
    "&lt; &#x60; \\` \\",
    "| `", "`|`", "\\|", "``` `", "", " ", "\n", "x\ud800y", "\x00\x07\x7f\x85",
]  # fmt: skip


def poisoned(text):
    """A run in which everything that anybody else wrote says `text`."""
    story = stories.Story(run=stories.RUN)
    definition = {
        "summary": text,
        "file": text,
        "after": {"checklist": [text, {"task": text, "due": text}, {"task": text, "due": "+" + text}]},
    }
    steps = [(i, u, text, text) for i, u, *_ in stories.STEPS]
    target = dict.fromkeys(("engine", "version", "database", "host", "server_id"), text)
    story.start(
        steps, definition, name=text, actor=text, host=text, commit=text, target=target, version=text,
        runbook_digest=text, plan_digest=text,
        settings={"watch": text, "selection": {"skip": [text]}},
    )  # fmt: skip
    key = {"name": text, "fingerprint": text, "source": text}
    story.check("key.check", text, "warn", text, keys=[key])
    story.check("promotion", text, run=text, environment=text)
    columns = [{**c, "table": text, "column": text} for c in stories.counts()]
    words = ("path", "state", "manifest_sha256", "from", "to", "subject", "app")
    evidence = {text: text, "nested": {text: text}, **dict.fromkeys(words, text)}
    evidence |= {"columns": columns, "list": [text], "installed": [text], "changed": [text]}
    for step, *_ in stories.STEPS[:7]:
        story.begin(step, text, text).finish(step, text, evidence=evidence, tail=text, log=text, command_exit=3)
    story.add(e.DecisionTaken(step="verify", decision="override", who=text, why=text))
    story.begin("tests", text)
    story.add(e.StepFailed(step="tests", attempt=1, error=text, hint=text, tail=text, log=text))
    story.add(e.RollbackStarted(reason=text, actor=text, to=text))
    story.add(
        e.CompensationStarted(step="encrypt", uses=text, attempt=1),
        e.CompensationFinished(step="encrypt", summary=text, tail=text),
    )
    story.add(
        e.CompensationStarted(step="code", uses=text, attempt=1),
        e.CompensationFailed(step="code", error=text, left=text, tail=text),
    )
    return build(story.end("rollback_incomplete", text).records, story.run)


def shape(markdown):
    """Kinds of nodes, in order, without what they say."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inner = [c for t in tokens for c in (t.children or [])]
    kinds = [t.type for t in tokens if t.type != "inline"]
    return kinds, {c.type for c in inner}


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, tuple(k for k, _ in attrs)))


def tags(text):
    parser = Tags()
    parser.feed(text)
    return parser.found


def no_controls(text):
    return not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff]", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_creates_no_markdown_structure(text):
    blocks, inline = shape(render_markdown(poisoned(text)))

    assert blocks == shape(render_markdown(poisoned("plain")))[0] if text.strip() else blocks
    assert inline <= {"text", "softbreak", "code_inline", "strong_open", "strong_close", "text_special", "entity"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_creates_no_html_element(text):
    found = tags(render_html(poisoned(text)))

    assert found == tags(render_html(poisoned("plain"))) if text.strip() else found
    assert not {"script", "img", "iframe", "link", "a"} & {tag for tag, _ in found}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(
        alphabet=st.one_of(st.sampled_from("`|*_[]<>&#-+.!\\~\n{}%:=\x1b\u202e 1a"), st.characters()),
        min_size=1,
        max_size=40,
    )
)
def test_no_text_at_all_creates_structure(text):
    report = poisoned("x" + text)
    markdown, page = render_markdown(report), render_html(report)

    assert shape(markdown)[0] == shape(render_markdown(poisoned("plain")))[0]
    assert tags(page) == tags(render_html(poisoned("plain")))
    assert no_controls(markdown)
    assert no_controls(page)


@pytest.mark.parametrize("name", ["a|b", "a\\|b", "`|`", "a||b|"])
def test_a_pipe_in_a_column_name_stays_in_its_cell(name):
    story = stories.succeeded()
    for record in story.records:
        for column in getattr(record.event, "evidence", {}).get("columns", []):
            column["column"] = name
    tokens = MarkdownIt("commonmark").enable("table").parse(render_markdown(build(story.records, story.run)))
    cells = [t.children for t in tokens if t.type == "inline"]

    at = next(i for i, cell in enumerate(cells) if [c.content for c in cell] == [f"web_profile.{name}"])
    assert cells[at + 1][0].content == "5,000"


@pytest.mark.parametrize("text", HOSTILE)
def test_controls_are_shown_and_never_passed_on(text):
    report = poisoned(text)

    assert no_controls(render_markdown(report))
    assert no_controls(render_html(report))


def test_template_language_in_data_is_not_evaluated():
    report = poisoned("{{7*7}}")

    assert "49" not in render_html(report).split("</style>")[1].replace("4,900", "")
    assert "{{7*7}}" in render_html(report)
    assert "`{{7*7}}`" in render_markdown(report)


def test_what_is_only_for_the_undo_and_for_later_steps_is_not_told():
    canary = "canary-4f1d"
    unsaid = {"secrets": {"key": {"from": canary}}, "vars": {"v": canary}, "environments": {"e": canary}}
    definition = {**stories.DEFINITION, **unsaid}
    story = stories.Story().start(definition=definition)
    story.add(e.StepStarted(step="code", uses="git.update", attempt=1, before={"commit": canary}))
    story.finish("code", "done", outputs={"commit": canary})
    report = build(story.end("succeeded").records, story.run)

    assert canary not in render_markdown(report) + render_html(report)


def test_the_page_asks_nobody_for_anything():
    page = render_html(poisoned("http://evil.test/x"))

    assert not re.search(r"(\ssrc=|href=|url\(|@import)", page)
    assert "default-src 'none'" in page


def test_a_strange_run_id_cannot_name_a_file_elsewhere(tmp_path):
    from deployguard.report.render import write_reports

    story = stories.Story(run="../../etc/passwd\x1b")
    story.start(steps=[]).end("succeeded")

    paths = write_reports(build(story.records, story.run), tmp_path / "reports", ["md"])

    assert [p.parent for p in paths] == [tmp_path / "reports"]


def test_long_reports_fold_what_went_well():
    steps = [(f"step-{n}", "run", "", None) for n in range(10_000)]
    story = stories.Story().start(steps)
    for n in range(10_000):
        step = f"step-{n}"
        story.add(e.StepStarted(step=step, uses="run", attempt=1, commands=["true"]))
        if n == 5000:
            story.add(e.StepFailed(step=step, attempt=1, error="no", final=False, tail="why it failed"))
            story.add(e.StepStarted(step=step, uses="run", attempt=2))
        story.finish(step, "exit status 0", 0.01, tail="quiet output")
    records = [replace(r) for r in story.end("succeeded").records]

    report = build(records, stories.RUN)
    text, page = render_markdown(report), render_html(report)

    assert text.count("\n### ") == 1
    assert "why it failed" in text
    assert "why it failed" in page
    assert "quiet output" not in text.split("### ")[0]
    assert "steps are not drawn" in text or "shorter stretches are not drawn" in text
