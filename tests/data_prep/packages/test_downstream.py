import itertools
import json
import shutil

import numpy as np
import pytest
import soundfile
from fairseq.data import Dictionary, TokenBlockDataset, data_utils
from sentencepiece import SentencePieceProcessor

from data_prep.packages import bibles, downstream, movie_reviews
from data_prep.packages.downstream import prepare
from data_prep.text.labeled import read_rows
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.text.vocabulary import Vocabulary
from tests.data_prep.packages.test_bibles import words, write_bibles
from tests.data_prep.packages.test_movie_reviews import write_reviews
from tests.data_prep.packages.test_wordnet import write_glosses

# Levels by the split that the md5 of their names gives, with the lines of each.
LEVELS = {"airplane": 4, "cave": 4, "hole": 2, "steel": 2}
LETTERS = "abcdeěfghi"
TASKS = {"sentiment": (1, movie_reviews.LABELS), "paraphrase": (2, bibles.LABELS)}


def write_dialogue(tree):
    """Czech speech with Czech, English and German texts. One file of each level has no text."""
    rng = np.random.default_rng(0)
    for level, count in LEVELS.items():
        script = tree / "usr/share/games/fillets-ng/script" / level
        script.mkdir(parents=True)
        sound = tree / "usr/share/games/fillets-ng/sound" / level / "cs"
        sound.mkdir(parents=True)
        czech, german = [], []
        for i, letter in enumerate(LETTERS[:count]):
            czech.append(f'dialogId("{i}", "font_big", "It’s line {letter} of {level}.")')
            czech.append(f'dialogStr("Věta {letter}, {level}.")')
            german.append(f'dialogId("{i}", "font_big", "x")\ndialogStr("Zeile {letter} von {level}, ja.")')
            soundfile.write(sound / f"{i}.ogg", rng.normal(0, 0.1, 22050), 22050, format="OGG", subtype="VORBIS")
        (script / "dialogs_cs.lua").write_text("\n".join(czech), encoding="utf-8")
        (script / "dialogs_de.lua").write_text("\n".join(german), encoding="utf-8")
        soundfile.write(sound / "unlabelled.ogg", rng.normal(0, 0.1, (44100, 2)), 44100, format="OGG", subtype="VORBIS")


def write_prose(tree):
    prose = tree / "usr/share/games/fortunes/cz/citat"
    prose.parent.mkdir(parents=True)
    quotes = [
        f"Dlouhá věta {a}{b}. A za ní {a}{b}{a}.\n\t\t-- Seneca\n%\n" for a, b in itertools.product(LETTERS, LETTERS)
    ]
    prose.write_text("".join(quotes), encoding="utf-8")


def write_tree(tree):
    """Write small packages of the downstream set, unpacked."""
    write_dialogue(tree)
    write_prose(tree)
    write_bibles(tree)
    write_reviews(tree)
    random = np.random.default_rng(1)
    glosses = [f"{words(random, 4)} of it" for _ in range(300)]
    glosses += [f"born in {year} as a {words(random, 2)}" for year in range(1500, 1600)]
    write_glosses(tree, [*glosses, "a 3-dimensional thing", "on 1 or 2"])
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("publisher") / "tree")


@pytest.fixture(scope="module")
def made(tree, tmp_path_factory):
    """The data folder, moved after it was made."""
    folder = tmp_path_factory.mktemp("made")
    prepare(tree, folder / "first")
    (folder / "first").rename(folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def stats(made):
    return json.loads((made / "stats.json").read_text(encoding="utf-8"))


def decoded(path, vocabulary):
    """The texts of a binarized file."""
    dictionary = Dictionary.load(str(vocabulary / "dict.txt"))
    pieces = SentencePieceProcessor(model_file=str(vocabulary / "spm.model"))
    items = data_utils.load_indexed_dataset(str(path), dictionary, "mmap")
    assert all(item[-1] == dictionary.eos() for item in items)
    return [pieces.decode([dictionary[i] for i in item[:-1]]) for item in items]


def lines_of(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_speech_translations(made, stats):
    vocabulary = Vocabulary.load(made / "st")
    assert set(vocabulary.languages) == {"en", "de"}
    for split, count in (("train", 8), ("dev", 2), ("test", 2)):
        manifest = Manifest.open(made / "st" / f"{split}.tsv")
        rows = [manifest.row(i) for i in range(len(manifest))]
        assert len(rows) == 2 * count == stats["manifests"][f"st/{split}.tsv"]["utterances"]
        for row in rows:
            assert row["id"].endswith(f"-{row['tgt_lang']}") and row["audio"].startswith("../features.zip:")
            assert row["tgt_text"].startswith("zeile " if row["tgt_lang"] == "de" else "it's line ")
            assert vocabulary.dictionary.unk() not in vocabulary.encode(row["tgt_text"]) or split != "train"
        untagged = {row["id"].rsplit("-", 1)[0] for row in rows}
        asr = Manifest.open(made / "asr" / f"{split}.tsv")
        assert untagged == {asr.value(i, "id") for i in range(len(asr))} and len(untagged) == count


def test_translations_as_text(made):
    for language in ("en", "de"):
        for name, split in (("train", "train"), ("valid", "dev")):
            manifest = Manifest.open(made / "st" / f"{split}.tsv")
            rows = [row for row in map(manifest.row, range(len(manifest))) if row["tgt_lang"] == language]
            path = made / "st/mt" / language / f"{name}.source-target"
            assert lines_of(path.with_name(f"{name}.target")) == [row["tgt_text"] for row in rows]
            source = decoded(f"{path}.source", made)
            assert source == [row["src_text"] for row in rows] and len(source) == len(
                decoded(f"{path}.target", made / "st")
            )
            if name == "train":
                assert decoded(f"{path}.target", made / "st") == [row["tgt_text"] for row in rows]


def test_one_vocabulary_for_all_that_is_read(made):
    for folder in ("st/source", "sentiment", "paraphrase", "normalization"):
        for name in ("dict.txt", "spm.model"):
            assert (made / folder / name).read_bytes() == (made / name).read_bytes()
    symbols = Dictionary.load(str(made / "dict.txt")).symbols
    written = (made / "normalization/train.written").read_text(encoding="utf-8")
    assert set(written) - set(" \n") <= set(symbols) and set("0123456789/-") <= set(written)
    assert not any(len(symbol.strip("▁")) > 1 and any(map(str.isdigit, symbol)) for symbol in symbols)


@pytest.mark.parametrize("task", TASKS)
def test_sentences_with_labels(made, stats, task):
    count, labels = TASKS[task]
    dictionary = Dictionary.load(str(made / task / "label/dict.txt"))
    assert tuple(dictionary.symbols[4:]) == labels
    seen = {}
    for split in ("train", "valid", "test"):
        rows = read_rows(made / task / f"{split}.tsv")
        described = stats["sentences"][task][split]
        assert described["rows"] == len(rows) > 0 and sum(described["labels"].values()) == len(rows)
        items = data_utils.load_indexed_dataset(str(made / task / "label" / split), dictionary, "mmap")
        assert [dictionary.string(item) for item in items] == [row.label for row in rows]
        for number in range(count):
            assert len(decoded(made / task / f"input{number}" / split, made)) == len(rows)
        for row in rows:
            assert len(row.texts) == count
            for text in row.texts:
                assert seen.setdefault(text, split) == split
    assert decoded(made / task / "input0/train", made) == [row.texts[0] for row in read_rows(made / task / "train.tsv")]


def test_normalization(made, stats):
    seen = set()
    for split in ("train", "valid", "test"):
        prefix = made / "normalization" / split
        written, spoken, classes = (
            lines_of(prefix.with_name(f"{split}.{name}")) for name in ("written", "spoken", "classes")
        )
        assert len(written) == len(spoken) == len(classes) == stats["normalization"]["normalization"][split]["rows"] > 0
        assert not seen & {*written, *spoken}
        seen |= {*written, *spoken}
        for side, texts in (("written", written), ("spoken", spoken)):
            numbers = decoded(f"{prefix}.written-spoken.{side}", made)
            assert len(numbers) == len(texts)
            # A character that occurs in evaluation only is unknown.
            assert numbers == texts or split != "train"
    assert stats["sources"]["normalization"]["found, year"] == 100
    assert stats["left_out"]["normalization"] == {
        "found: a word with digits of unknown kind": 1,
        "found: several words with digits": 1,
        "generated: fewer than # or more than # words": 1,  # the verb's "do it"
    }


def test_prose_can_be_read_back_and_cut_at_documents(made):
    dictionary, total = Dictionary.load(str(made / "dict.txt")), 0
    for split in ("cs_train", "cs_valid"):
        prefix = made / "text" / split
        lines = lines_of(prefix.with_name(f"{split}.txt"))
        items = data_utils.load_indexed_dataset(str(prefix), dictionary, "mmap")
        assert decoded(prefix, made) == lines
        blocks = TokenBlockDataset(items, items.sizes, 512, dictionary.pad(), dictionary.eos(), "complete_doc")
        for block, document in zip(blocks, "\n".join(lines).strip("\n").split("\n\n"), strict=True):
            assert (block == dictionary.eos()).sum().item() == len(document.split("\n")) == 2
        total += len(blocks)
    assert total == len(LETTERS) ** 2


def test_no_test_sentence_is_in_text_to_train_on(made):
    text = {name: {*lines_of(made / "text" / f"{name}.txt")} - {""} for name in ("en_train", "en_valid", "cs_train")}
    assert all(text.values()) and not text["en_train"] & text["en_valid"]
    for task in TASKS:
        used = {
            split: {t for row in read_rows(made / task / f"{split}.tsv") for t in row.texts}
            for split in ("train", "valid", "test")
        }
        assert not used["test"] & (text["en_train"] | text["en_valid"])
        assert not used["valid"] & text["en_train"] and not used["train"] & text["en_valid"]
    assert {t for row in read_rows(made / "paraphrase/train.tsv") for t in row.texts} <= text["en_train"]


def test_second_run_does_nothing(made, capsys):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert downstream.main(["--tree", "gone", "--out", str(made)]) == 0
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    printed = capsys.readouterr().out
    assert (
        "sentiment: train " in printed and "st/mt/de: train 8, valid 2" in printed and "left out of bibles" in printed
    )


def test_same_tree_gives_the_same_bytes(tree, made, tmp_path):
    prepare(tree, tmp_path / "again", jobs=1)
    for path in made.rglob("*"):
        # The Arrow copies remember the time of their manifest.
        if path.is_file() and path.suffix != ".arrow":
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(made)).read_bytes(), path


def test_limit_and_another_recipe(tree, tmp_path):
    stats = prepare(tree, tmp_path / "small", limit=2)
    for name, each in stats["manifests"].items():
        assert each["utterances"] == (4 if name.startswith("st/") else 2)
    for counts in (*stats["sentences"].values(), *stats["normalization"].values(), *stats["translations"].values()):
        assert {each["rows"] for each in counts.values()} == {2}
    with pytest.raises(DataError, match=r"was made by another recipe \(limit: found 2, expected None\)"):
        prepare(tree, tmp_path / "small")


def test_an_incomplete_tree_leaves_no_folder(tree, tmp_path, capsys):
    partial = shutil.copytree(tree, tmp_path / "tree")
    shutil.rmtree(partial / "usr/share/sword")
    assert downstream.main(["--tree", str(partial), "--out", str(tmp_path / "data"), "--limit", "1"]) == 1
    message = capsys.readouterr().err
    assert "sword: expected mods.d" in message and not (tmp_path / "data").exists()
