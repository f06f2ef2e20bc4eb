"""Rules for one line do work in proportion to its length, and find what the plain patterns find.

The references are the patterns as they would be written without care, which take the square of the length or more.
"""

import random
import re
import signal
from contextlib import contextmanager

import pytest

from data_prep.corpora import wsj
from data_prep.text import transcripts, web
from data_prep.text.normalize import join_clitics, normalize, normalize_english, tidy

LENGTH = 15_000  # characters
SECONDS = 3  # of the processor: a tenth is enough by the rules, many of the references take longer
QUOTES = r"""["'”’»)\]]*"""
MARKUP = re.compile(r"[{}<>|\\@#_=]|https?:|www\.|\b[\w-]+\.(?:com|org|net|html?)\b", re.IGNORECASE)
SENTENCE_END = re.compile(rf"""(?<=[.!?…]){QUOTES}\s+(?=["'“‘„«(\[¿¡–—-]*\s*([^\W_]))""")
ENTRY = re.compile(r"\S+:\s*\S*?([^/\s]+/[^/\s]+/[^/\s.]+)(?:\.wv1)?\s*", re.IGNORECASE)


def drawn(pieces, count=400, most=14):
    """Yield strings of some of ``pieces``."""
    draw = random.Random(0)
    for _ in range(count):
        yield "".join(draw.choice(pieces) for _ in range(draw.randint(1, most)))


@contextmanager
def ending():
    """Fail if the block takes :data:`SECONDS` of the processor, which a busy machine does not lengthen."""
    before = signal.signal(signal.SIGVTALRM, lambda *_: pytest.fail("did not end"))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def by_plain_patterns(line):
    """Return the sentences of a line, with every abbreviation searched from the begin of its sentence."""
    begin = 0
    for end in SENTENCE_END.finditer(line):
        if not end[1].islower() and not web._ABBREVIATION.search(line, begin, end.start()):
            yield line[begin : end.start()]
            begin = end.end()
    yield line[begin:]


def test_sentences_and_markup_are_those_of_the_plain_patterns():
    pieces = [
        "Dr",
        "capt",
        "xprof",
        "A",
        "é",
        "word",
        ".",
        "!",
        " ",
        "  ",
        '"',
        "”",
        "(",
        "-",
        "com",
        "org",
        "www",
        "_",
        "9",
    ]
    for line in drawn(pieces, 4000):
        assert list(web.sentences_of(line)) == list(by_plain_patterns(line)), line
        assert bool(web._MARKUP.search(line)) == bool(MARKUP.search(line)), line


def test_brackets_and_blanks_are_those_of_the_plain_patterns():
    for text in drawn(["(", ")", "a", "b ", " ", "'s", "'ve", "'x"], 4000):
        assert transcripts._BRACKETS.sub("#", text) == re.sub(r"\(+[^()]*\)+", "#", text), text
        expected = re.sub(r" +'(s|t|re|ve|ll|d|m)(?!\S)", r"'\1", text)
        assert transcripts._PARTED_SUFFIX.sub(r"'\1", text) == expected, text


def test_intended_words_are_those_of_the_plain_pattern():
    for word in drawn(["[", "]", "/", "a", "b", "-", "laughter-"], 4000):
        expected = word
        for pattern in (r"\[laughter-(.*)\]", r"\[.*/(.*)\]"):
            found = re.fullmatch(pattern, expected)
            expected = found[1] if found else expected
        kept = not (expected.startswith("-") or expected.endswith("-") or "[" in expected or "]" in expected)
        assert transcripts._switchboard_word(word) == (expected if kept else ""), word


def test_entries_of_an_index_are_those_of_the_plain_pattern():
    lines = ["11_1_1:wsj0/si_tr_s/011/011c0201.wv1", "11_2_1: wsj0/si/01t/01to030v.WV1", "d:a/b/c", "d: a/b/c", "d:a/b"]
    lines += [
        "d:/a/b/c.wv1",
        "d:a/b/c.wav",
        "d:x/a/b/c d",
        ":a/b/c",
        "d a/b/c",
        "d:a//c",
        "d:a/b/.wv1",
        "d:a/b/c.wv1.wv1",
    ]
    for line in (*lines, *drawn(["d", ":", " ", "a", "/", "/b", ".wv1", ".WV1"], 4000)):
        found = ENTRY.fullmatch(line.strip())
        if line.count(":") < 2:
            assert wsj._key(line.strip().lower()) == (found[1].lower() if found else None), line


LONG = [
    "A. ", ". ", ".  ", "?!", "a-", "-a.", "a.", '."', ". -", "Mr. X ",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx. ", "«", "com.", "...", "' ", "-- ", "(", "((a", "(a(", "[",
    "[a/", "/", "<", "<a", "{", "{a/", "- ", "-", "mm", "mh", "o. k", "uh-", ".'s", " ", " '", "_", "%", "~", "!",
    "\\",
]  # fmt: skip


@pytest.mark.parametrize("piece", LONG)
def test_a_long_line_takes_as_long_as_many_short_ones(piece):
    for begin, end in (("", ""), (". [(", " X")):
        text = begin + piece * (LENGTH // len(piece)) + end
        with ending():
            web.clean(text + ".", "en", keep_digits=True)
            for rule in ("switchboard", "fisher", "hub5", "tedlium", "wsj", "common_notation"):
                getattr(transcripts, rule)(text)
            for rule in (normalize, normalize_english, tidy, join_clitics):
                rule(text)
            wsj._key(text)
