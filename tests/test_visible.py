import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from deployguard.visible import decode, markdown_cell, markdown_code_block, markdown_text, visible

COMMONMARK = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SIGNS = st.sampled_from("\\`*_{}[]()#+-.!|<>&~=:;/ \t\n\r0123w.h@$'\"\x1b\u202e")
HOSTILE = st.text(st.one_of(SIGNS, st.characters()), max_size=60)
TRAPS = [
    "# title", "- item", "+ x", "1. one", "12) x", "> quote", "a\n===", "a\n---", "***", "```\ncode\n```", "~~~",
    "    code", "[a](javascript:x)", "![a](b)", "<b>", "<!-- x", "&lt;", "a  \nb", "a\\\nb", "a|b\n-|-\n1|2",
    "a\\|b\n:-", "[a]: /b", "<https://x.y>", "*a*", "_a_", "__a__", "a_b_c", "\\*a\\*", "\\\\*a*", "`a`", "\\`a`",
    "~~a~~", "a\n\n\nb", "\t# x", "\\",
]  # fmt: skip


def with_traps(test):
    for trap in TRAPS:
        test = example(trap)(test)
    return settings(max_examples=600, deadline=None)(given(HOSTILE)(test))


def nodes(markdown: str) -> set[str]:
    tokens = COMMONMARK.parse(markdown)
    return {child.type for token in tokens for child in (token.children or [token])}


def shown(markdown: str) -> str:
    """What a reader sees of a paragraph."""
    tokens = COMMONMARK.parse(markdown)
    return "".join("\n" if c.type == "softbreak" else c.content for t in tokens for c in t.children or [])


@pytest.mark.parametrize("code", range(256))
def test_every_byte_is_decoded_and_made_visible(code):
    text = visible(decode(bytes([code])))

    assert text.encode("utf-8")
    assert text in {"\n", "\t"} or not any(unicodedata.category(c) == "Cc" for c in text)


@pytest.mark.parametrize(
    ("hostile", "seen"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]8;;http://evil\x07click\x1b]8;;\x07", r"\x1b]8;;http://evil\x07click\x1b]8;;\x07"),
        ("\x1b]52;c;AAAA\x07", r"\x1b]52;c;AAAA\x07"),
        ("\x1bPdcs\x1b\\", "\\x1bPdcs\\x1b\\"),
        ("over\rwritten\x08\x7f\x9b", r"over\x0dwritten\x08\x7f\x9b"),
        ("user\u202etxt.exe \u2066\u200f", r"user\u202etxt.exe \u2066\u200f"),
        ("\ud800", r"\ud800"),
        ("plain é 漢 😀\n\ttext", "plain é 漢 😀\n\ttext"),
    ],
)
def test_controls_are_shown_and_nothing_else_changes(hostile, seen):
    assert visible(hostile) == seen
    assert visible(seen) == seen


def test_bytes_that_are_no_text_are_shown():
    assert decode(b"ok \xff\xfe \xed\xa0\x80 \xc3\xa9") == r"ok \xff\xfe \xed\xa0\x80 é"


@given(st.binary())
def test_any_bytes_become_text_that_can_be_written(data):
    visible(decode(data)).encode("utf-8")


@with_traps
def test_text_never_becomes_markdown(hostile):
    harmless = {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "softbreak"}
    assert nodes(markdown_text(hostile)) <= harmless
    expected = [line.strip() for line in visible(hostile).split("\n") if line.strip()]
    assert [line.strip() for line in shown(markdown_text(hostile)).split("\n") if line.strip()] == expected


@with_traps
def test_a_cell_stays_one_cell(hostile):
    table = f"| a | b |\n|---|---|\n|{markdown_cell(hostile)}|end|\n"
    tokens = COMMONMARK.parse(table)

    cells = [tokens[n + 1] for n, token in enumerate(tokens) if token.type == "td_open"]
    assert [token.type for token in tokens].count("tr_open") == 2
    assert cells[1].content == "end"
    assert {c.type for c in cells[0].children} <= {"text", "text_special"}
    assert "".join(c.content for c in cells[0].children).split() == visible(hostile).split()


@with_traps
def test_a_code_block_holds_all_of_the_text(hostile):
    tokens = COMMONMARK.parse(markdown_code_block(hostile))

    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content.rstrip("\n") == visible(hostile).rstrip("\n")


def test_the_fence_is_longer_than_any_run_in_the_text():
    for run in ("`" * 5, "~" * 7):
        assert len(re.match("`+", markdown_code_block(f"a {run} b"))[0]) == len(run) + 1


def test_plain_words_read_the_same_raw():
    for plain in ("user_id of 3 rows (all)", "exit status 3, see deploy.log!", "a-b = c+d #5", r"\x1b and \u202e"):
        assert markdown_text(plain) == plain
