import json
import shutil
from collections import Counter
from functools import partial

import pytest
from fairseq.data import data_utils

from data_prep.packages import english, english_folder, english_rows
from data_prep.packages.clauses import HELD_OUT_VOICES
from data_prep.packages.english import prepare
from data_prep.packages.english_rows import choose, keep_clauses_apart, labeled, translated
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.text.vocabulary import Vocabulary
from tests.data_prep.layouts.games import write_english
from tests.data_prep.preparing import check_clean, rows_of


def table(name, split, *sentences, frames=300):
    """Rows of a game. Their ids have the numbers of the sentences."""
    return [
        {"id": f"{name}-{split}-{place}", "game": name, "tgt_text": text, "n_frames": frames, "de_text": text.upper()}
        for place, text in enumerate(sentences)
    ]


GAMES = {
    "steel_sky": {
        "train": table("steel_sky", "train", "a", "in dev", "in test", "in valid"),
        "dev": table("steel_sky", "dev", "in dev", "in both"),
        "test": table("steel_sky", "test", "in both", "of valid"),
    },
    "drascula": {
        "train": table("drascula", "train", "b", "also in dev"),
        "dev": table("drascula", "dev", "also in dev"),
        "test": table("drascula", "test", "in test"),
    },
    "amazon_queen": {
        "train": table("amazon_queen", "train", "c", "a", "in dev", "alone"),
        "dev": table("amazon_queen", "dev", "in valid", "of valid", "alone"),
    },
}


def sentences(rows):
    return [row["tgt_text"] for row in rows]


def test_roles():
    roles = choose(GAMES, {"b", "c", "not here"})
    assert sentences(roles.train) == ["a", "in valid"] and sentences(roles.speech) == ["a", "in valid", "a"]
    assert not roles.pairs and roles.held_out > {"b", "c", "not here"}
    assert roles.dropped["training, of a held-out clause"] == roles.dropped["speech, of a held-out clause"] == 1
    roles = choose(GAMES, set())
    assert sentences(roles.test) == ["in both", "of valid", "in test"]
    assert sentences(roles.dev) == ["in dev", "also in dev"]
    # A sentence that recognition trains on is in no valid pair.
    assert sentences(roles.train) == ["a", "in valid", "b"]
    assert sentences(roles.pairs_valid) == ["alone"]
    assert sentences(roles.speech) == ["a", "in valid", "b", "c", "a"]
    assert sentences(roles.pairs) == ["c"]
    assert roles.held_out == {"in dev", "in both", "also in dev", "of valid", "in test", "alone"}
    assert {reason: count for reason, count in roles.dropped.items() if count} == {
        "dev, of a sentence of test": 1,
        "training, of a sentence of dev or test": 3,
        "valid pair, of a sentence of recognition": 2,
        "speech, of a held-out sentence": 2,
        "pair, of a sentence of recognition": 1,
    }


def test_clauses_that_are_held_out_sentences():
    rows = {split: [{"src_text": text, "tgt_text": "x"} for text in ("a", "b")] for split in ("train", "dev", "test")}
    dropped = Counter()
    chosen = keep_clauses_apart(rows, {"b"}, dropped)
    assert [row["src_text"] for row in chosen["train"]] == ["a"] and chosen["test"] == rows["test"]
    assert dropped == {"training clause that is a held-out sentence": 1}


def test_subsets_are_nested_and_in_proportion():
    rows = [*table("one", "train", *"ab" * 300), *table("two", "train", *"ab" * 100)]
    small, large = (labeled(rows, minutes) for minutes in (2, 8))
    assert [len(small), len(large)] == [40, 160]
    assert {row["id"] for row in small} < {row["id"] for row in large}
    assert sum(row["game"] == "one" for row in small) == 30
    # The choice does not depend on the order, or on other rows at the game's end.
    assert {row["id"] for row in labeled(rows[::-1], 2)} == {row["id"] for row in small}
    assert labeled(rows, 1000) == rows


def test_translated_rows():
    rows = table("one", "train", "a", "b")
    rows[1]["de_text"] = ""
    (row,) = translated(rows, ["de"])
    assert row["id"] == "one-train-0-de" and row["tgt_lang"] == "de"
    assert (row["src_text"], row["tgt_text"]) == ("a", "A")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data folder, moved after it was made: it needs no other folder."""
    folder = tmp_path_factory.mktemp("english")
    write_english(folder / "tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(english_folder.clauses, "open_corpus", partial(english_folder.clauses.open_corpus, train=40))
        assert english.main(["--tree", str(folder / "tree"), "--out", str(folder / "first"), "--jobs", "1"]) == 0
    (folder / "first").rename(folder / "data")
    return folder / "data"


def test_folder(made):
    check_clean(made, 40)
    found = {
        path.relative_to(made).as_posix() for path in made.rglob("*.tsv") if path.parts[len(made.parts)] != "games"
    }
    asr = {f"asr/{name}.tsv" for name in ("train_10", "train_30", "train_100", "dev", "test")}
    folders = ("st", "st/de", "st/it", "st/clauses")
    st = {f"{folder}/{name}.tsv" for folder in folders for name in ("train", "dev", "test")}
    assert found >= asr | st | {f"{name}/{split}.tsv" for name in ("speech", "pairs") for split in ("train", "valid")}
    for path in found:
        assert all("features.zip:" in row["audio"] for row in rows_of(made / path))
    vocabulary = Vocabulary.load(made)
    assert len(vocabulary.dictionary) < 64
    written = vocabulary.encode("it's 0123456789 xyz")
    assert vocabulary.dictionary.unk() not in written.tolist()
    for folder in ("asr", "st/source", "st/clauses/source"):
        assert (made / folder / "dict.txt").read_bytes() == (made / "dict.txt").read_bytes()
    assert "tgt_text" not in Manifest.open(made / "speech/train.tsv").columns
    stats = json.loads((made / "stats.json").read_text())
    assert stats["packages"]["drascula"] == {"file": "drascula_1_all.deb", "version": "1", "sha256": "0"}
    assert stats["manifests"]["asr/train_10.tsv"]["utterances"] == 25 and stats["text"]["train"]["unknown"] == 0
    assert stats["translations"]["st/mt/fr"]["train"]["rows"] > 60
    for language in ("de", "fr", "es", "it"):
        assert (made / f"st/mt/{language}/train.source-target.target.idx").is_file()


def test_synthetic_pairs(made):
    rows = rows_of(made / "pairs/synthetic.tsv")
    spoken, texts = {row["speaker"] for row in rows}, {row["tgt_text"] for row in rows}
    assert len(texts) == len(rows) > 20 and not spoken & set(HELD_OUT_VOICES)
    transcripts = {
        row["tgt_text"] for name in ("train_100", "dev", "test") for row in rows_of(made / f"asr/{name}.tsv")
    }
    assert not texts & transcripts


def test_translations(made):
    rows = rows_of(made / "st/test.tsv")
    languages = [row["tgt_lang"] for row in rows]
    assert {name: languages.count(name) for name in languages} == dict.fromkeys(("de", "fr", "es", "it"), 12)
    for row in rows:
        assert row["id"].endswith(f"-{row['tgt_lang']}") and row["tgt_text"].startswith(row["src_text"])
    french = [{**row, "audio": f"../{row['audio']}"} for row in rows if row["tgt_lang"] == "fr"]
    assert french == rows_of(made / "st/fr/test.tsv")


def test_clauses_as_pairs_of_texts(made):
    sides = [(made / f"st/clauses/mt/train.{side}").read_text().splitlines() for side in ("source", "target")]
    spoken = [(row["src_text"], row["tgt_text"]) for row in rows_of(made / "st/clauses/train.tsv")]
    unspoken = [(made / f"games/clauses/unspoken.{language}").read_text().splitlines() for language in ("en", "es")]
    assert [*zip(*sides, strict=True)] == [*spoken, *zip(*unspoken, strict=True)]
    held_out = {row["src_text"] for split in ("dev", "test") for row in rows_of(made / f"st/clauses/{split}.tsv")}
    assert held_out and not held_out & set(sides[0])
    stats = json.loads((made / "stats.json").read_text())["translations"]["st/clauses/mt"]
    assert stats["train"]["rows"] == len(sides[0]) and stats["valid"]["unknown"][0] == 0
    target, vocabulary = made / "st/clauses/mt/train.source-target.target", Vocabulary.load(made / "st/clauses")
    written = data_utils.load_indexed_dataset(str(target), vocabulary.dictionary)
    assert written[0].tolist()[:-1] == vocabulary.encode(sides[1][0]).tolist()


def test_clauses(made):
    splits = {split: rows_of(made / f"st/clauses/{split}.tsv") for split in ("train", "dev", "test")}
    vocabulary = Vocabulary.load(made / "st/clauses")
    assert not vocabulary.languages
    for rows in splits.values():
        assert rows and {(row["lang"], row["tgt_lang"]) for row in rows} == {("en", "es")}
    for row in splits["train"]:
        assert vocabulary.dictionary.unk() not in vocabulary.encode(row["tgt_text"]).tolist()
    stats = json.loads((made / "stats.json").read_text())
    assert stats["symbols"]["st/clauses"] == len((made / "st/clauses/dict.txt").read_text().splitlines())
    assert stats["manifests"]["st/clauses/test.tsv"]["utterances"] == len(splits["test"])
    assert stats["left_out"]["clauses"]["occurs in another split"] > 40
    # Verses of dev and test chapters are not among the text to train on.
    text = (made / "text/train.txt").read_text()
    held_out = [row["src_text"] for split in ("dev", "test") for row in splits[split]]
    assert not any(f"in the beginning {clause}" in text for clause in held_out)
    assert sum(f"in the beginning {row['src_text']}" in text for row in splits["train"]) > 20


def test_a_held_out_clause_in_training_is_refused(tmp_path, made):
    """The check of the written folder finds a clause that was chosen wrongly."""
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    table = copy / "st/clauses/train.tsv"
    held_out = rows_of(copy / "st/clauses/test.tsv")[0]["src_text"]
    first = rows_of(table)[0]["src_text"]
    table.write_text(table.read_text().replace(f"\t{first}\t", f"\t{held_out}\t", 1))
    pairs = {f"st/mt/{language}": {"train": []} for language in ("de", "fr", "es", "it")}
    with pytest.raises(DataError, match=r"st/clauses/train\.tsv:1: '.*' is held out: st/clauses/test\.tsv, row 1"):
        english_folder._refuse_overlaps(copy, [], pairs)


def test_a_leak_is_refused(tmp_path, monkeypatch):
    """The check of the written folder finds rows that were chosen wrongly."""
    monkeypatch.setattr(english_rows, "_without", lambda rows, *_: list(rows))
    write_english(tmp_path / "tree", leak=True)
    with pytest.raises(DataError, match=r"pairs/train\.tsv:\d+: '.*' is held out: asr/(dev|test)\.tsv, row \d+"):
        prepare(tmp_path / "tree", tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


def test_a_tree_without_record(tmp_path, capsys):
    assert english.main(["--tree", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "holds no packages.json, expected a tree that slam fetch unpacked" in capsys.readouterr().err
