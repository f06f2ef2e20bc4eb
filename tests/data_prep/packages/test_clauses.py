import functools
import hashlib

import numpy as np
import pytest

from data_prep.engine.units import Dropped
from data_prep.packages import clause_pairs, clauses, espeak
from data_prep.packages.bibles import Place
from data_prep.packages.clause_pairs import Clause, choose_clauses, cut_verses, fault_of, scores
from data_prep.packages.clauses import HELD_OUT_VOICES, TRAINING_VOICES
from data_prep.packages.synthetic import VOICES
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.games import write_english_and_spanish
from tests.data_prep.packages.test_bibles import write_module
from tests.data_prep.preparing import check_clean, contents, dropped, rows_of, run_command

SIZES = {"train": 20, "dev": 1, "test": 1}


def tones(requests):
    """Instead of speech, 80 ms per letter."""
    return [np.full(espeak.RATE * 80 // 1000 * len(request.text), request.pitch, np.int16) for request in requests]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publisher")
    write_english_and_spanish(folder)
    return folder


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """Reading a Bible takes seconds, even if most of its verses are empty."""
    monkeypatch.setattr(clause_pairs, "read_printed", _READ)


_READ = functools.cache(clause_pairs.read_printed)


def verses_of(split, *texts):
    """One verse in each chapter of a split."""
    chapters = (Place("Genesis", chapter, 1) for chapter in range(1, 51))
    return dict(zip((place for place in chapters if place.split == split), texts, strict=False))


def test_verses_are_cut_and_paired():
    english = verses_of(
        "train", "So he said, “Who are you?”", "Then he went", "Two clauses here, not there", "Chapter 7 has digits, oh"
    )
    spanish = verses_of("train", "Y él le dijo: ¿Quién eres tú?", "Entónces fué él", "Dos frases", "Siete; oh")
    found = list(cut_verses({"web": english, "rv1909": spanish}))
    kept = [each for each in found if isinstance(each, Clause)]
    assert [each[3:] for each in kept] == [
        ("so he said", "y él le dijo"),
        ("who are you", "quién eres tú"),
        ("then he went", "entónces fué él"),
    ]
    assert kept[1].key.endswith("-1-2") and {each.split for each in kept} == {"train"}
    reasons = [each.reason for each in found if isinstance(each, Dropped)]
    assert reasons == [
        "is a verse of different numbers of clauses",
        "is no verse, or none of letters alone, in English",
    ]


def test_a_verse_of_two_splits_is_in_one():
    both = verses_of("train", "the very same verse") | verses_of("test", "the very same verse")
    found = list(cut_verses({"web": both, "rv1909": dict.fromkeys(both, "el mismo verso")}))
    assert sorted(getattr(each, "split", None) or each.reason for each in found) == [
        "is a verse that occurs in another split",
        "test",
    ]


@pytest.mark.parametrize(
    ("english", "spanish", "fault"),
    [
        ("a b c", "a b", None),
        ("a b", "a b", "fewer than 3"),
        ("a " * 12 + "a", "a " * 12, "more than 12 English words"),
        ("aaaa " * 12, "aaa " * 15, "more than 14 Spanish words"),
        ("aaaa bbbb cccc", "aaaaaa", "less than 0.45"),
        ("aa bb cc", "aaaa bbbb cccc dd", "more than 2.0 times"),
    ],
)
def test_shapes(english, spanish, fault):
    found = fault_of(english.strip(), spanish.strip())
    assert found is None if fault is None else fault in found


def test_scores_come_from_the_other_half():
    """A pair that occurs in one chapter only is unknown to the model that scores it."""
    clauses = [
        Clause(f"{chapter}-{number}", f"Genesis {chapter}", "train", *pair)
        for chapter in range(1, 41)
        for number, pair in enumerate([("the man said", "el hombre dijo"), ("the house was", "la casa era")])
    ]
    alone = Clause("alone", "Genesis 3", "train", "quite other words", "palabras muy otras")
    tested = Clause("tested", "Genesis 99", "test", "the man said", "el hombre dijo")
    crossed = Clause("crossed", "Genesis 99", "test", "the man said", "la casa era")
    known, *_, single, right, wrong = scores([*clauses, alone, tested, crossed])
    assert known > clause_pairs.MIN_LOG_PROBABILITY > single and right == pytest.approx(known, abs=0.5)
    assert right > wrong + 1


def test_chosen_clauses(tree):
    chosen = choose_clauses(tree, SIZES)
    by_split = {split: [each for each in chosen.clauses if each.split == split] for split in SIZES}
    assert {split: len(own) for split, own in by_split.items()} == SIZES
    english = [each.english for each in chosen.clauses]
    assert len(set(english)) == len(english)
    every = choose_clauses(tree, dict.fromkeys(SIZES, 1000))
    assert set(chosen.clauses) < set(every.clauses) and every.spare == 0
    assert not every.unspoken and {each.split for each in chosen.unspoken} == {"train"}
    assert chosen.spare == len(every.clauses) - len(chosen.clauses) - len(chosen.unspoken)
    train = sorted((each.english for each in every.clauses if each.split == "train"), key=_md5)
    assert {each.english for each in by_split["train"]} == set(train[:20])
    assert sorted((each.english for each in chosen.unspoken), key=_md5) == train[20:]
    # All chapters have the same beginning. It is no training clause, and the model that scores the test clause has not
    # seen it.
    assert "in the beginning" not in {each.english for each in every.clauses}
    reasons = [each.reason for each in every.dropped]
    assert reasons.count("occurs in another split") > 40 and "is not aligned word by word" in reasons
    for each in every.clauses:
        place, chapter = each.key.split("-")[0], each.chapter.split()[1]
        assert Place(place, int(chapter), 1).split == each.split


def test_a_clause_is_chosen_once(monkeypatch):
    """Of two training chapters the first is used, of a test and a dev chapter the test chapter."""
    said = [f"{first} saw {second}" for first in ("adam", "noah", "seth") for second in ("enos", "cain", "abel")]
    train = verses_of("train", *(said * 4)[:30])
    dev, test = (verses_of(split, "cain saw noah, seth saw cain, and he slept") for split in ("dev", "test"))
    english = train | dev | test
    spanish = {place: text.replace("saw", "vio") for place, text in english.items()}
    monkeypatch.setattr(clause_pairs, "read_printed", lambda _, name: english if name == "web" else spanish)
    monkeypatch.setattr(clause_pairs, "MIN_LOG_PROBABILITY", -100.0)
    chosen = choose_clauses(None, dict.fromkeys(SIZES, 1000))
    assert sorted(each.english for each in chosen.clauses if each.split == "test") == [
        "and he slept", "cain saw noah", "seth saw cain",
    ]  # fmt: skip
    assert [each.english for each in chosen.clauses if each.split == "train"] == [
        each for each in said if each != "seth saw cain"
    ]
    assert not [each for each in chosen.clauses if each.split == "dev"]
    reasons = [each.reason for each in chosen.dropped]
    assert reasons.count("has English that occurs before") == len(train) - 8 - (said * 4)[:30].count("seth saw cain")
    assert "is a verse that occurs in another split" in reasons


def _md5(text):
    return hashlib.md5(text.encode()).digest()


def test_misaligned_clauses_score_lower():
    """Verses with the Spanish of another verse."""
    english, spanish = {}, {}
    names = "adam noah seth enos cain abel enoch lamech jared terah".split()
    for chapter in range(1, 51):
        one, two = names[chapter % 10], names[(chapter * 3 + 1) % 10]
        english[Place("Genesis", chapter, 1)] = f"{one} saw {two}"
        said = (one, two) if chapter % 9 else (names[(chapter + 4) % 10], names[(chapter + 6) % 10])
        spanish[Place("Genesis", chapter, 1)] = f"{said[0]}o miró {said[1]}o"
    cut = cut_verses({"web": english, "rv1909": spanish})
    found = [each for each in cut if isinstance(each, Clause)]
    assert len(found) > 40
    wrong = np.array([int(each.chapter.split()[1]) % 9 == 0 for each in found])
    values = scores(found)
    assert values[~wrong].mean() > values[wrong].mean() + 1


def test_voices_are_divided():
    assert set(TRAINING_VOICES) | set(HELD_OUT_VOICES) == set(VOICES)
    variants = [{voice.partition("+")[2] for voice in voices} for voices in (TRAINING_VOICES, HELD_OUT_VOICES)]
    assert not variants[0] & variants[1] and len(HELD_OUT_VOICES) == 12


def test_command(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(espeak, "speak", tones)
    monkeypatch.setattr(clauses, "_UNIT_CLAUSES", 7)
    monkeypatch.setattr(clauses.Clauses, "part_bytes", 1)
    out = tmp_path / "out"
    assert run_command(clauses.main, "--tree", tree, "--out", out, "--clauses", 15) == 0
    check_clean(out, 40)
    rows = {split: rows_of(out / f"{split}.tsv") for split in ("train", "dev", "test")}
    assert len(rows["train"]) == 15 and rows["dev"] and rows["test"]
    for split, own in rows.items():
        voices = TRAINING_VOICES if split == "train" else HELD_OUT_VOICES
        for row in own:
            assert row["speaker"] in voices and (row["lang"], row["tgt_lang"]) == ("en", "es")
            if row["src_text"] != "in the beginning":
                assert row["tgt_text"] == " ".join(f"{word}é" for word in row["src_text"].split())
            assert abs(row["n_frames"] - 8 * len(row["src_text"])) < 4
    assert list(rows["dev"][0]) == list(clauses.COLUMNS)
    unspoken = [(out / f"unspoken.{language}").read_text().splitlines() for language in ("en", "es")]
    assert len(unspoken[0]) == len(unspoken[1]) > 20
    assert not set(unspoken[0]) & {row["src_text"] for own in rows.values() for row in own}
    assert unspoken[1] == [" ".join(f"{word}é" for word in line.split()) for line in unspoken[0]]
    assert "occurs in another split" in dropped(out).values()
    shared = ["--tree", tree, "--out", tmp_path / "shared", "--clauses", 15]
    for share in (["--shard", "2/2"], ["--shard", "1/2"], ["--merge"]):
        assert run_command(clauses.main, *shared, *share) == 0
    assert contents(tmp_path / "shared") == contents(out)
    assert run_command(clauses.main, "--tree", tmp_path / "none", "--out", tmp_path / "other") == 1


def test_without_the_spanish_module(tmp_path):
    write_module(tmp_path, "web", {("Genesis", 1, 1): "a b c", ("Matthew", 1, 1): "d e f"})
    with pytest.raises(DataError, match="expected the module spaRV1909eb, found none"):
        choose_clauses(tmp_path, SIZES)
