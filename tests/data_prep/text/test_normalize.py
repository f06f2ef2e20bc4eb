import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.text.normalize import (
    CZECH_LETTERS,
    ENGLISH_LETTERS,
    foreign_letters,
    is_spelled_out,
    join_clitics,
    normalize,
    normalize_english,
    tidy,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Chceš-li „to“ vědět?", "chceš li to vědět"),
        ("Čeho že? 'Kam běžíš?’", "čeho že kam běžíš"),
        ("Don’t! It`s the dogs' bone…", "don't it's the dogs bone"),
        ("A'Tuin – d'Este", "a'tuin d'este"),
        ("C:\\WINDOWS_98, 3Dfx!", "c windows 98 3dfx"),
        ("PR\u030cI\u0301LIS\u030c", "příliš"),
        ("  a\u00a0b\tc\n", "a b c"),
        ("...", ""),
        ("हिन्दी में, தமிழ்!", "हिन्दी में தமிழ்"),
        ("مَرْحَبًا؟ (סָלוֹם)", "مَرْحَبًا סָלוֹם"),
    ],
)
def test_normalize(written, expected):
    assert normalize(written) == expected


def test_join_clitics():
    cut = "It 's the company ’s , and we do n't know what they 'd say : 's '"
    assert join_clitics(cut) == "It's the company's , and we don't know what they'd say : 's '"


def words_letter_by_letter(text):
    """Return the text by the same rules in a plain loop, an independent reference for the regular expression."""
    letters = unicodedata.normalize("NFC", text).lower()
    kept = []
    for place, letter in enumerate(letters):
        inner = 0 < place < len(letters) - 1 and letters[place - 1].isalpha() and letters[place + 1].isalpha()
        mark = unicodedata.category(letter)[0] == "M"
        kept.append(letter if letter.isalnum() or mark or (letter == "'" and inner) else " ")
    return " ".join("".join(kept).split())


@given(st.text(alphabet=string.ascii_letters + "ěŠहि\u0301'_-.0 \t", max_size=30))
def test_normalize_equals_the_plain_loop_and_is_idempotent(text):
    assert normalize(text) == words_letter_by_letter(text)
    assert normalize(normalize(text)) == normalize(text)


def test_tidy_keeps_case_and_punctuation():
    assert tidy(" „Don’t“,  she  said. ") == '"Don\'t", she said.'


def test_digits_are_not_spelled_out():
    assert is_spelled_out("osm trilobitů")
    assert not is_spelled_out("8 trilobitů")
    assert not is_spelled_out("")


def test_foreign_letters():
    assert foreign_letters("příliš žluťoučký kůň úpěl ďábelské ódy", CZECH_LETTERS) == set()
    assert foreign_letters("naïve žena' свет", CZECH_LETTERS) == set("ïсвет")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Cæsar’s Café, Señor!", "caesar's cafe senor"),
        ("Almodo\u0301var; naïve ŒUVRE", "almodovar naive oeuvre"),
        ("Jirí Hubac", "jiri hubac"),
        ("ταυ", "ταυ"),
    ],
)
def test_normalize_english(written, expected):
    assert normalize_english(written) == expected
    assert bool(foreign_letters(expected, ENGLISH_LETTERS)) == (not expected.isascii())
