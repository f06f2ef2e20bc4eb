import json
import random
from collections import Counter

import pytest

from data_prep.engine.units import Dropped
from data_prep.packages import normalization, wordnet
from data_prep.packages.normalization import (
    PLAIN,
    Made,
    Sentence,
    draw_form,
    find,
    generate,
    open_corpus,
    read_parallel,
)
from data_prep.packages.wordnet import Gloss
from data_prep.text.numbers import KINDS, kinds_of, speak
from tests.data_prep.packages.test_wordnet import write_glosses
from tests.data_prep.preparing import check_sharing, run_command

UNKNOWN = "a word with digits of unknown kind"


@pytest.mark.parametrize(
    ("text", "written", "spoken", "kind"),
    [
        ("French painter (1863-1914)", "french painter 1863-1914",
         "french painter eighteen sixty three to nineteen fourteen", "years"),
        ("a republic; independent since 1811.", "a republic independent since 1811",
         "a republic independent since eighteen eleven", "year"),
        ("(22,572 feet high)", "22,572 feet high", "twenty two thousand five hundred and seventy two feet high",
         "cardinal"),
        ("it's the \"19th\" century", "it's the 19th century", "it's the nineteenth century", "ordinal"),
        ("about .5 of it", "about .5 of it", "about zero point five of it", "decimal"),
        ("costs $15", "costs $15", "costs fifteen dollars", "money"),
        ("the 1960s", "the 1960s", "the nineteen sixties", "year"),
    ],
)  # fmt: skip
def test_found_sentences(text, written, spoken, kind):
    assert find(text) == Sentence(written, spoken, kind)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("3-dimensional space", UNKNOWN),
        ("a height of 1500 meters", UNKNOWN),
        ("a poet (950-1021)", UNKNOWN),
        ("vitamin B12", UNKNOWN),
        ("from 1820 to 1829", "several words with digits"),
    ],
)
def test_sentences_with_a_word_of_unknown_kind(text, reason):
    assert find(text) == reason


def test_drawn_forms_are_of_their_kind_and_are_said_in_words():
    draw = random.Random(0)
    for kind in KINDS:
        forms = [draw_form(kind, draw) for _ in range(300)]
        assert len(set(forms)) > 50
        for form in forms:
            assert kind in kinds_of(form) and " " not in form
            assert speak(form, kind).replace(" ", "").replace("'", "").isalpha()


def test_generated_sentences_hold_one_form_in_their_definition():
    kinds = Counter()
    for number in range(400):
        carrier = f"a small thing {'abcdefghij'[number % 10]} {'klmnopqrst'[number // 10 % 10] * (number // 100 + 1)}"
        made = generate(f"(Small) {carrier}!")
        assert made == generate(f"small {carrier}") and f"small {carrier}" in made.written
        kinds[made.kind] += 1
        if made.kind == PLAIN:
            assert made.written == made.spoken
            continue
        (form,) = [word for word in made.written.split() if any(map(str.isdigit, word))]
        before, behind = made.written.split(form)
        assert made.spoken == f"{before}{speak(form, made.kind)}{behind}"
    assert kinds.keys() == {PLAIN, *KINDS} and min(kinds.values()) > 10
    for text in ("two words", " ".join("abcdefghijklmnop")):
        assert generate(text) == "fewer than 3 or more than 14 words"


def glosses(count):
    names = ["".join("abcdefghij"[int(digit)] for digit in f"{i:03}") for i in range(count)]
    plain = [Gloss(f"noun-{i:08}", [f"a kind of {name}", f"an example of {name} here"]) for i, name in enumerate(names)]
    found = [Gloss(f"verb-{i:08}", [f"poet of {name} ({1500 + i}-{1550 + i})"]) for i, name in enumerate(names)]
    return [*plain, *found]


def test_corpus():
    corpus = glosses(400)
    # A sentence that occurred in an earlier gloss is dropped.
    corpus += [Gloss("adv-00000001", ["Poet of AAA (1500-1550)"]), Gloss("adv-00000002", ["at 22 or 23"])]
    found = list(zip(corpus, read_parallel(corpus), strict=True))
    home = {normalization.normalize_english(gloss.sentences[0].split(" (")[0]): gloss.split for gloss in corpus}
    made = [(gloss.split, each) for gloss, own in found for each in own if isinstance(each, Made)]
    for side in (0, 1):
        texts = [each.sentence[side] for _, each in made]
        assert len(texts) == len(set(texts))
    assert {split for split, _ in made} == {"train", "dev", "test"}
    for split, each in made:
        assert {split} == {own for carrier, own in home.items() if carrier in each.sentence.written}
    sources = Counter(each.source for _, each in made)
    assert sum(each == ("found", each.sentence) and each.sentence.kind == "years" for _, each in made) == 400
    assert sources["found"] == 400 and 60 < sources["generated"] < 140
    assert [each for _, own in found for each in own if isinstance(each, Dropped)] == [
        Dropped("adv-00000001", "found: a sentence that occurred before"),
        Dropped("adv-00000002", "found: several words with digits"),
    ]


def test_the_same_however_the_work_is_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "UNIT_GLOSSES", 50)
    sentences = [sentence for gloss in glosses(60) for sentence in gloss.sentences]
    write_glosses(tmp_path / "tree", [*sentences, sentences[-1], "at 22 or 23"])
    folder = check_sharing(open_corpus(tmp_path / "tree"), tmp_path)
    count = 0
    for split in ("train", "valid", "test"):
        lines = [(folder / f"{split}.{name}").read_text().splitlines() for name in ("written", "spoken", "classes")]
        assert len(lines[0]) == len(lines[1]) == len(lines[2]) > 0
        count += len(lines[0])
        for written, spoken, kind in zip(*lines, strict=True):
            assert (written == spoken) == (kind == PLAIN) and not any(map(str.isdigit, spoken))
    stats = json.loads((folder / "stats.json").read_text())
    assert sum(stats["noted"].values()) == count and stats["noted"]["found, years"] == 60
    assert stats["dropped"]["found: a sentence that occurred before"] == 1
    assert stats["dropped"]["found: several words with digits"] == 1


def test_a_tree_without_glosses(tmp_path, capsys):
    assert run_command(normalization.main, "--tree", tmp_path / "gone", "--out", tmp_path / "out") == 1
    assert "data.noun" in capsys.readouterr().err
