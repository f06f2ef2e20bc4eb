"""Normalization of every script, and which normalization a text has had."""

import re
import sys
import unicodedata

import pytest
import torch

from data_prep.text import normalize as of_data_prep
from data_prep.text.normalization_files import Pair
from data_prep.text.parallel import of_pair
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.text import normalization
from slam_plugin.data.text.normalization import (
    NORMALIZATIONS,
    decoded_sample,
    find_normalization,
    normalize,
    normalize_english,
    normalize_forms,
    sampled,
)
from slam_plugin.data.text.vocabulary import Vocabulary

JOINED = {
    "Sinhala": "ශ්\u200dරී ලංකා",
    "Hindi, with joiner": "क्\u200dष",
    "Hindi, without": "क्\u200cष",
    "Persian": "می\u200cخواهم",
    "Malayalam, old final": "ന്\u200d അവൻ",
}


@pytest.mark.parametrize("language", JOINED)
def test_joiners_belong_to_words(language):
    text = JOINED[language]
    assert normalize(f"«{text}», {text}!") == f"{text} {text}"
    assert len(normalize(text).split()) == text.count(" ") + 1


@pytest.mark.parametrize(
    "sign", ["\u00ad", "\u200b", "\u2060", "\ufeff", "\u200e", "\u200f", "\u202a", "\u2066", "\u061c"]
)
def test_invisible_characters_cut_no_word(sign):
    assert unicodedata.category(sign) == "Cf"
    assert normalize(f"{sign}Donau{sign}dampf{sign} {sign}") == "donaudampf"
    assert normalize_english(f"co{sign}operate don{sign}'t") == "cooperate don't"
    assert normalize(f"e{sign}\u0301") == "é"


def test_joiners_where_no_letter_needs_them():
    for joiner in ("\u200c", "\u200d"):
        assert normalize(f"fi{joiner}ne 👩{joiner}🚀 {joiner} день{joiner}ги x{joiner}") == "fine деньги x"
        assert normalize(f"می{joiner} {joiner}می") == "می می"
    assert normalize("می\u200c\u200c\u200dخواهم") == "می\u200cخواهم"


def test_capitals_of_turkish():
    assert (
        normalize("IĞDIR’DA İYİ Işık", "tr")
        == normalize("IĞDIR’DA I\u0307YI\u0307 Işık", "tr-TR")
        == "ığdır'da iyi ışık"
    )
    assert normalize("ILIK", "az_Latn") == "ılık"
    for language in (None, "en", "de", "trk", ""):
        assert normalize("ILIK", language) == "ilik"


def test_catalan_keeps_its_dot():
    assert normalize("Col·legi, COL·LEGI; coŀlegi · a·b l· ·l") == "col·legi col·legi col·legi a b l l"
    assert normalize_english("Col·legi") == "col legi"


def test_ordinary_text_is_what_it_was():
    """The rule before joiners, on every character of the basic plane between letters, as the reference."""
    rule = re.compile(r"(?<![^\W\d_])'|'(?![^\W\d_])|[^\w'\s]|_")

    def before(text):
        text = unicodedata.normalize("NFC", text).translate(normalization._APOSTROPHES).lower()
        kept = rule.sub(lambda found: found[0] if unicodedata.category(found[0]).startswith("M") else " ", text)
        return " ".join(kept.split())

    changed = {chr(code) for code in range(0xD800) if normalize(f"a {chr(code)}b") != before(f"a {chr(code)}b")}
    assert {sign for sign in changed if unicodedata.category(sign) != "Cf"} <= {"Ŀ", "ŀ"}
    for text in ("Don't -- it's “so”, at 9 o'clock (a.m.)!", "naïve café_x\tCæsar's", "l'été · l'œuf"):
        assert normalize(text) == before(text)
        assert normalize(normalize(text)) == normalize(text)


def test_normalizing_twice_changes_nothing():
    signs = list("l·\u200d\u200c\u00adक्ම'’Iŀ مe")
    draw = torch.Generator().manual_seed(0)
    for _ in range(3000):
        text = "".join(signs[i] for i in torch.randint(len(signs), (8,), generator=draw).tolist())
        for rule in (normalize, normalize_english, NORMALIZATIONS["turkish words"]):
            assert rule(rule(text)) == rule(text), ascii(text)


def test_one_rule_for_preparation_and_models():
    assert of_data_prep.normalize is normalize and of_data_prep.normalize_english is normalize_english
    pair = Pair(0, "Due on “3/4”, for $5!", "x")
    assert of_pair(pair)[0] == normalize_forms(pair.written) == "due on 3/4 for $5"


TEXTS = ["Ahoj, it's 5 o'clock", "The café was FULL.", "one two three", "for $5.50, on 3/4"]


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_the_normalization_of_a_text_is_found(name):
    texts = [
        NORMALIZATIONS[name](text) for text in (*TEXTS, *(["Işık ve Ilık"] * 2 if name == "turkish words" else []))
    ]
    assert find_normalization(texts) == name
    assert find_normalization([]) is None and find_normalization(["", " "]) is None


def test_an_accent_in_the_vocabulary_speaks_against_english():
    assert find_normalization(["one two"], ["▁one", "o"]) == "english words"
    assert find_normalization(["one two"], ["▁one", "é"]) == "words"
    assert find_normalization(["one işık", *["one"] * 20], ["ş"]) == "words"


def test_a_sample_of_sentences(tmp_path, monkeypatch):
    train_vocabulary(["ahoj lod"], tmp_path, 40, "char")
    vocabulary = Vocabulary.load(tmp_path)
    eos = torch.tensor([vocabulary.dictionary.eos()])
    rows = [torch.cat((vocabulary.encode(text), eos)) for text in ("ahoj", "xyz", "", "lod a")]
    assert decoded_sample(rows, vocabulary) == ["ahoj", "", "lod a"]
    monkeypatch.setattr(normalization, "SAMPLE", 3)
    assert sampled(0) == [] and sampled(2) == [0, 1] and sampled(sys.maxsize >> 20)[0] == 0 and len(sampled(10**6)) == 3
