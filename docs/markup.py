"""Docstrings and help texts as markdown, and tables of them."""

import re
import textwrap
from collections.abc import Iterable, Sequence

from slam_plugin.program import ROLE

WIDTH = 100  # of a line of text


def wrapped(page: str) -> str:
    """Return a page with lines of text of at most ``WIDTH``. Rows of tables, headings and pictures stay as they are."""
    return "\n".join(line if line.startswith(("|", "#", "<img")) else _filled(line) for line in page.split("\n"))


def _filled(line: str) -> str:
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def markdown(text: str) -> str:
    """Return a docstring's or help text's markup as markdown. What would be markup by accident is escaped."""
    text = ROLE.sub(r"``\1``", text)
    parts = re.split(r"(``.+?``)", text, flags=re.DOTALL)
    return "".join(
        f"`{part[2:-2]}`" if part.startswith("``") else re.sub(r"([<*\[\]])", r"\\\1", part) for part in parts
    )


def code(text: object) -> str:
    """Return ``text`` as code, nothing as nothing."""
    return f"`{text}`" if str(text) else ""


def paragraphs(doc: str) -> list[str]:
    """Return the paragraphs of a cleaned docstring as markdown, each in one line. Lists and examples end it."""
    found = []
    for paragraph in doc.strip().split("\n\n"):
        if paragraph.startswith((" ", "- ")) or paragraph.split("\n")[0].endswith(("Attributes:", "Args:")):
            break
        found.append(markdown(" ".join(paragraph.split())))
    return found


def attributes(doc: str) -> dict[str, str]:
    """Return the entries of a cleaned docstring's ``Attributes:``. One of several names stands under each."""
    _, _, block = doc.partition("Attributes:\n")
    found = {}
    for entry in re.split(r"\n(?=    \w)", "\n" + block.split("\n\n")[0]):
        names, _, words = " ".join(entry.split()).partition(": ")
        found |= {name: markdown(words.removesuffix(".")) for name in names.split(", ") if words}
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, and an empty one. None if there are no rows."""
    lines = ["| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines, ""] if lines else []
