"""Normalizers: Whisper's against transformers' copy of OpenAI's code, unknown symbols, languages, a missing package."""

import json
import sys
from importlib.resources import files

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.scoring import normalizer as normalizers
from slam_plugin.scoring.figures import figures_of
from slam_plugin.scoring.normalizer import find_normalizer

TEXTS = [
    "Twenty-one colours, aren't they?",
    "Mr. Brown paid $3,500.50 (in cash) on the 2nd.",
    "He said [laughter] uh, it's fifty per cent!",
    "Straße, Čeština: l'été — œuvre.",
    "   ",
]


def test_whispers_normalizers_are_those_of_another_library():
    from transformers.models.whisper import english_normalizer as other

    spellings = json.loads((files("whisper_normalizer") / "normalizers/english.json").read_text(encoding="utf-8"))
    english, basic = find_normalizer("whisper", "en-US"), find_normalizer("basic")
    for text in TEXTS:
        assert english.apply(text) == other.EnglishTextNormalizer(spellings)(text).strip()
        assert basic.apply(text) == other.BasicTextNormalizer()(text).strip()


def test_whisper_takes_the_basic_normalizer_for_other_languages():
    english, german, basic = (
        find_normalizer("whisper", "en"),
        find_normalizer("whisper", "de"),
        find_normalizer("basic"),
    )
    assert [each.apply("Aren't 2 colours") for each in (english, german, basic)] == [
        "are not 2 colors",
        *["aren t 2 colours"] * 2,
    ]
    assert "English" in english.description and "basic" in german.description == basic.description


def test_none_keeps_case_and_punctuation():
    plain = find_normalizer("none")
    assert plain.apply("  Cafe\u0301,  OK ") == "Café, OK"


@pytest.mark.parametrize("name", ["basic", "whisper"])
def test_an_unknown_symbol_stays_an_error(name):
    normalizer = find_normalizer(name, "en")
    unknown = [normalizers.UNKNOWN_HYPOTHESIS, normalizers.UNKNOWN_REFERENCE]
    assert [normalizer.apply(f"Ab{mark}.") for mark in unknown] == [f"ab{mark}" for mark in unknown]
    [figure] = figures_of([f"ab{unknown[0]}"], [f"ab{unknown[1]}"], ["cer"], normalizer)
    assert figure.score == pytest.approx(100 / 3)


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(DataError, match="found no language of the texts, expected --language"):
        find_normalizer("whisper")
    with pytest.raises(ValueError, match="unknown normalizer 'nemo'; expected one of none, basic, whisper"):
        find_normalizer("nemo")
    monkeypatch.setitem(sys.modules, "whisper_normalizer", None)
    normalizers._whisper_normalizer.cache_clear()
    needs = r"--normalizer needs whisper-normalizer: pip install 'whisper-normalizer>=0.1' \(the extra \[normalizer\]\)"
    with pytest.raises(DataError, match=needs):
        find_normalizer("basic")
