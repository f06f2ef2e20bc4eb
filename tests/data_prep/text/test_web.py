"""Cleaning of web pages: for each rule a sentence that is used and one that is not."""

from itertools import combinations

import pytest

from data_prep.text import web as web_text
from data_prep.text.web import LANGUAGES, clean, sentences_of
from tests.data_prep.layouts.mc4 import PAGES

GOOD = "The cat sat on the mat. He was not there when it fell. They said that it is his."


def left_out(line: str, **options: bool) -> dict[str, int]:
    """Return why the lines that are put before good ones are not used."""
    page = clean(f"{line}\n{GOOD}", "en", **options)
    assert page.sentences[-3:] == [
        "the cat sat on the mat",
        "he was not there when it fell",
        "they said that it is his",
    ]
    return dict(page.left_out)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Home | About us", "line that does not end like a sentence"),
        ("Write to the owner at me@here.", "sentence with markup or an address"),
        ("See www.here.example for more of it.", "sentence with markup or an address"),
        ("Then {x} is the best of all.", "sentence with markup or an address"),
        ("It was in 1984 that he left.", "sentence with digits"),
        ("!!! ...", "sentence without letters"),
        ("He said привет to her.", "sentence with letters of another language"),
        ("Read on!", "sentence of fewer than 3 words"),
        ("the " * 101 + "end.", "sentence of more than 100 words"),
        ("The cat sat on the mat!", "sentence that occurs in its page before"),
    ],
)
def test_sentences_that_are_left_out(line, reason):
    assert left_out(line) == {reason: 1}


def test_sentences_that_are_used():
    page = clean(f"“Is it here?” The Café’s owner didn't know (it's said).\n{'so ' * 99}on!\n{GOOD}", "en")
    assert page.sentences[:3] == ["is it here", "the cafe's owner didn't know it's said", "so " * 99 + "on"]
    assert not page.left_out
    assert clean(f"Room 12 was empty.\n{GOOD}", "en", keep_digits=True).sentences[0] == "room 12 was empty"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("One is here. Two is there! Is it?", ["One is here.", "Two is there!", "Is it?"]),
        ("Dr. Who met J. Smith. He left.", ["Dr. Who met J. Smith.", "He left."]),
        ("He said “No.” Then he left.", ["He said “No.", "Then he left."]),
        ("It was... nothing. Oh… Yes.", ["It was... nothing.", "Oh…", "Yes."]),
        ("¿Qué es? ¡Nada! Älter wird er.", ["¿Qué es?", "¡Nada!", "Älter wird er."]),
        ("Version 2.5 of a.b is out.", ["Version 2.5 of a.b is out."]),
    ],
)
def test_lines_are_cut_into_sentences(line, expected):
    assert list(sentences_of(line)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Menu\nOne\nTwo\nThe cat is here. It was there.", "has fewer than 3 usable sentences"),
        (GOOD + "\nbuy now" * 30, "holds too little prose: 19 of 79 words are usable"),
        ("".join(f"The cat is {'very ' * n} old.\n" for n in range(9)), "has more than 70 words"),
        (
            "Lorem ipsum dolor sit amet. " * 3 + "Nunc est bibendum ergo. Gaudeamus igitur iuvenes sumus.",
            "is not in language en",
        ),
    ],
)
def test_pages_that_are_left_out(text, reason, monkeypatch):
    monkeypatch.setattr(web_text, "MAX_PAGE_WORDS", 70)
    assert clean(text, "en").fault.startswith(reason)
    assert clean(GOOD, "en").fault is None


def test_frequent_words_are_of_one_language():
    for one, other in combinations(LANGUAGES, 2):
        assert not LANGUAGES[one].words & LANGUAGES[other].words, (one, other)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_passes_as_its_own_language_alone(language):
    assert set(PAGES) == set(LANGUAGES)
    for name in LANGUAGES:
        page = clean(PAGES[language], name)
        assert (page.fault is None) == (name == language), (name, page)
        assert name == language or page.fault.startswith(f"is not in language {name}: ")
    assert len(clean(PAGES[language], language).sentences) >= 3
    assert not clean(PAGES[language], language).left_out


def test_a_language_that_is_trusted():
    page = clean(
        "Ovo je rečenica broj jedan. Ovo je druga među njima. Привет всем кто здесь.", "hr", trust_language=True
    )
    assert page.fault is None and page.sentences[2] == "привет всем кто здесь"
    with pytest.raises(KeyError):
        clean(GOOD, "hr")
