import random
from collections import Counter

import pytest

from data_prep.engine.splits import SPLIT_OF_FAIRSEQ
from data_prep.packages import normalization
from data_prep.packages.normalization import PLAIN, Sentence, draw_form, find, generate, read_parallel
from data_prep.packages.wordnet import Gloss
from data_prep.text.numbers import KINDS, kinds_of, speak
from tests.data_prep.packages.test_wordnet import write_glosses

NOT_SURE = "a word with digits whose reading is not sure"


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
        ("3-dimensional space", NOT_SURE),
        ("a height of 1500 meters", NOT_SURE),
        ("a poet (950-1021)", NOT_SURE),
        ("vitamin B12", NOT_SURE),
        ("from 1820 to 1829", "several words with digits"),
    ],
)
def test_sentences_whose_reading_is_not_sure(text, reason):
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
    # What occurred before, in another gloss, is dropped wherever it stands.
    corpus += [Gloss("adv-00000001", ["Poet of AAA (1500-1550)"]), Gloss("adv-00000002", ["at 22 or 23"])]
    parallel = read_parallel(corpus)
    split_of = {gloss.id: gloss.split for gloss in corpus}
    home = {normalization.normalize_english(gloss.sentences[0].split(" (")[0]): split_of[gloss.id] for gloss in corpus}
    for side in (0, 1):
        texts = [sentence[side] for sentences in parallel.splits.values() for sentence in sentences]
        assert len(texts) == len(set(texts))
    for name, sentences in parallel.splits.items():
        assert sentences
        for sentence in sentences:
            (split,) = {split for carrier, split in home.items() if carrier in sentence.written}
            assert split == SPLIT_OF_FAIRSEQ[name]
    assert parallel.sources["found, years"] == 400
    generated = sum(count for name, count in parallel.sources.items() if name.startswith("generated"))
    assert 60 < generated < 140 and sum(parallel.sources.values()) == 400 + generated
    assert parallel.dropped == {"found: a sentence that occurred before": 1, "found: several words with digits": 1}
    assert read_parallel(corpus) == parallel


def test_command(tmp_path, capsys):
    write_glosses(tmp_path, [sentence for gloss in glosses(60) for sentence in gloss.sentences])
    assert normalization.main(["--tree", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "years" in capsys.readouterr().out
    for split in ("train", "valid", "test"):
        lines = [
            (tmp_path / "out" / f"{split}.{name}").read_text().splitlines() for name in ("written", "spoken", "classes")
        ]
        assert len(lines[0]) == len(lines[1]) == len(lines[2]) > 0
        for written, spoken, kind in zip(*lines, strict=True):
            assert (written == spoken) == (kind == PLAIN) and not any(map(str.isdigit, spoken))
    assert normalization.main(["--tree", str(tmp_path / "gone"), "--out", str(tmp_path)]) == 1
    assert "data.noun" in capsys.readouterr().err
