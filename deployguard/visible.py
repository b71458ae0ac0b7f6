r"""Text from outside → text that can only be read: for terminals and for Markdown.

What an escape stands for stays readable (`\x1b[31m`); a backslash that was in the
text already looks the same. The exact bytes are in the log.
"""

import re

_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f"  # C0 but tab and line feed; DEL
    "\x80-\x9f"  # C1: on many terminals the same as ESC and a letter
    "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"  # direction of writing: text that reads other than it is
    "\u2028\u2029"  # line breaks that only some programs break at
    "\ud800-\udfff"  # lone surrogates: they cannot be written as UTF-8
    "]"
)


def visible(text: str) -> str:
    """Show control characters as escapes; line feed and tab stay."""
    return _UNSEEN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - the last one-byte number


def decode(data: bytes) -> str:
    r"""UTF-8 → text; each byte that is none is shown as an escape like `\xff`."""
    return data.decode("utf-8", "backslashreplace")


_MARKUP = re.compile(
    r"\\(?=[!-/:-@\[-`{-~]|$)"  # a backslash that would escape what follows, or break the line
    r"|[`*\[\]<~|$]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"  # inside a word it is only itself: user_id
    r"|&(?=[#A-Za-z])"  # an entity
    r"|:(?=//)|(?<=www)\.",  # GitHub makes links of bare addresses
    re.MULTILINE | re.IGNORECASE,
)
_OPENING = re.compile(r"^(?:[#>=+:-]|(?P<number>[0-9]{1,9})(?=[.)](?:[ \t]|$)))")


def markdown_text(text: str) -> str:
    """Running text that a Markdown reader shows as it is; blank lines and indentation go."""
    lines = (line.strip(" \t") for line in visible(text).split("\n"))
    return "\n".join(_OPENING.sub(_opening, _MARKUP.sub(r"\\\g<0>", line)) for line in lines if line)


def _opening(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found["number"] else f"\\{found[0]}"


def markdown_cell(text: str) -> str:
    """One cell of a table: a line without bars of its own."""
    line = " ".join(visible(text).split())
    last = "&#92;" if line.endswith("\\") else ""  # a backslash there would take the cell's own bar with it
    return _MARKUP.sub(r"\\\g<0>", line.removesuffix("\\") if last else line) + last


def markdown_code_block(text: str) -> str:
    """A fenced block whose fence is longer than any run of backticks or tildes in the text."""
    shown = visible(text).rstrip("\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+|~+", shown)), default=0))
    return f"{fence}\n{shown}\n{fence}"
