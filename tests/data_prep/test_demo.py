import itertools
import json
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from fairseq.data import Dictionary, TokenBlockDataset, data_utils
from sentencepiece import SentencePieceProcessor

from data_prep import demo
from data_prep.demo import prepare
from slam_plugin.data.audio import load_features
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifest import Manifest

# Levels by the split that the md5 of their names gives.
LEVELS = {"airplane": 4, "cave": 4, "hole": 2, "steel": 2}
LETTERS = "abcdeěfghi"


def write_tree(tree):
    rng = np.random.default_rng(0)
    for level, count in LEVELS.items():
        script = tree / "usr/share/games/fillets-ng/script" / level / "dialogs_cs.lua"
        script.parent.mkdir(parents=True)
        sound = tree / "usr/share/games/fillets-ng/sound" / level / "cs"
        sound.mkdir(parents=True)
        lines = []
        for i in range(count):
            lines.append(f'dialogId("{i}", "font_big", "It’s line {LETTERS[i]} of {level}.")')
            lines.append(f'dialogStr("Věta {LETTERS[i]}, {level}.")')
            soundfile.write(sound / f"{i}.ogg", rng.normal(0, 0.1, 22050), 22050, format="OGG", subtype="VORBIS")
        script.write_text("\n".join(lines), encoding="utf-8")
        soundfile.write(sound / "unlabelled.ogg", rng.normal(0, 0.1, (44100, 2)), 44100, format="OGG", subtype="VORBIS")
    prose = tree / "usr/share/games/fortunes/cz/citat"
    prose.parent.mkdir(parents=True)
    texts = [
        f"Dlouhá věta {a}{b}. A za ní {a}{b}{a}.\n\t\t-- Seneca\n%\n" for a, b in itertools.product(LETTERS, LETTERS)
    ]
    prose.write_text("".join(texts), encoding="utf-8")
    return tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("publisher") / "tree")


@pytest.fixture(scope="module")
def made(tree, tmp_path_factory):
    """The data folder, moved after it was made, and with its sources out of reach: it must stand alone."""
    folder = tmp_path_factory.mktemp("made")
    prepare(tree, folder / "first")
    (folder / "first").rename(folder / "data")
    return folder / "data"


def test_layout(made):
    found = {
        path.relative_to(made).as_posix()
        for path in made.rglob("*")
        if path.suffix in (".tsv", ".bin", ".idx", ".zip", ".model")
    }
    found |= {path.relative_to(made).as_posix() for path in made.rglob("dict.txt")}
    assert found == {
        "features.zip", "dict.txt", "spm.model",
        "speech/train.tsv", "speech/valid.tsv", "pairs/train.tsv", "pairs/valid.tsv",
        "text/train.bin", "text/train.idx", "text/valid.bin", "text/valid.idx",
        "asr/train.tsv", "asr/dev.tsv", "asr/test.tsv", "asr/dict.txt", "asr/spm.model",
        "st/train.tsv", "st/dev.tsv", "st/test.tsv", "st/dict.txt", "st/spm.model",
    }  # fmt: skip
    assert not list(made.parent.glob(".*partial*"))


def test_features_of_every_row(made, tree):
    for path in made.rglob("*.tsv"):
        manifest = Manifest.open(path)
        for i in range(len(manifest)):
            row = manifest.row(i)
            assert row["audio"].startswith("../features.zip:")
            features = load_features(row["audio"], path.parent)
            assert len(features) == row["n_frames"]
            level, name = row["id"].split("-")
            sound = tree / "usr/share/games/fillets-ng/sound" / level / "cs" / f"{name}.ogg"
            assert (features - load_features(str(sound), "/")).abs().max() < 0.02


def test_statistics_agree_with_the_files(made):
    stats = json.loads((made / "stats.json").read_text(encoding="utf-8"))
    for name, described in stats["manifests"].items():
        manifest = Manifest.open(made / name)
        assert described["utterances"] == len(manifest)
        assert described["minutes"] == pytest.approx(manifest.column("n_frames").sum() * 0.01 / 60, abs=0.01)
    counts = {name: each["utterances"] for name, each in stats["manifests"].items()}
    assert counts["speech/train.tsv"] == 10 and counts["pairs/train.tsv"] == 8 and counts["speech/valid.tsv"] == 3
    assert counts["asr/test.tsv"] == counts["st/test.tsv"] == 2
    assert stats["left_out"]["dialogue"]["text not used: no subtitle"] == 4
    for name, folder in (("joint", made), ("asr", made / "asr"), ("st", made / "st")):
        assert stats["symbols"][name] == len(Dictionary.load(str(folder / "dict.txt"))) - 4
    assert stats["alphabet"] == "".join(
        sorted({letter for i in range(8) for letter in f"věta {LETTERS[i % 4]} airplane cave"})
    )


def test_text_can_be_read_back_and_cut_at_documents(made):
    dictionary = Dictionary.load(str(made / "dict.txt"))
    pieces = SentencePieceProcessor(model_file=str(made / "spm.model"))
    total = 0
    for split in ("train", "valid"):
        items = data_utils.load_indexed_dataset(str(made / "text" / split), dictionary, "mmap")
        lines = (made / "text" / f"{split}.txt").read_text(encoding="utf-8").split("\n")[:-1]
        assert len(items) == len(lines)
        for item, line in zip(items, lines, strict=True):
            assert item[-1] == dictionary.eos() and dictionary.unk() not in item
            assert pieces.decode([dictionary[i] for i in item[:-1]]) == line
        blocks = TokenBlockDataset(items, items.sizes, 512, dictionary.pad(), dictionary.eos(), "complete_doc")
        total += len(blocks)
        for block, document in zip(blocks, "\n".join(lines).strip("\n").split("\n\n"), strict=True):
            ends = (block == dictionary.eos()).sum().item()
            assert ends == len(document.split("\n")) == 2
    assert total == 100


def test_second_run_does_nothing(tree, made, capsys):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert demo.main(["--tree", "gone", "--out", str(made)]) == 0
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    assert "pairs/train.tsv" in capsys.readouterr().out


def test_same_tree_gives_the_same_bytes(tree, made, tmp_path):
    prepare(tree, tmp_path / "again", jobs=1)
    for path in made.rglob("*"):
        # The Arrow copies remember the time of their manifest.
        if path.is_file() and path.suffix != ".arrow":
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(made)).read_bytes(), path


def test_limit_and_another_recipe(tree, tmp_path):
    stats = prepare(tree, tmp_path / "small", limit=1)
    assert {each["utterances"] for each in stats["manifests"].values()} == {1}
    assert stats["text"]["train"]["documents"] == stats["text"]["valid"]["documents"] == 1
    with pytest.raises(DataError, match=r"was made by .*'limit': 1.*, not .*'limit': None"):
        prepare(tree, tmp_path / "small")


def test_failed_run_leaves_no_folder_and_is_made_good(tree, tmp_path):
    damaged = shutil.copytree(tree, tmp_path / "tree")
    prose = damaged / "usr/share/games/fortunes/cz/citat"
    text = prose.read_text(encoding="utf-8")
    # The prose is read after the features are there.
    prose.write_text(text, encoding="iso-8859-2")
    with pytest.raises(DataError, match="citat: expected UTF-8"):
        prepare(damaged, tmp_path / "data")
    assert (tmp_path / ".data.partial/features.zip").is_file() and not (tmp_path / "data").exists()
    prose.write_text(text, encoding="utf-8")
    prepare(damaged, tmp_path / "data", limit=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "tree"]


def test_a_folder_of_something_else_is_left_alone(tree, tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(DataError, match=r"holds files but no stats\.json"):
        prepare(tree, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_corpora_file_is_put_beside_the_data(tree, made, tmp_path):
    wanted = tmp_path / "mine.yaml"
    for kinds in ("speech", "text"):
        wanted.write_text(yaml.safe_dump({"stages": {0: [kinds]}}))
        assert demo.main(["--tree", str(tree), "--out", str(made), "--corpora", str(wanted)]) == 0
        assert yaml.safe_load((made / "corpora.yaml").read_text()) == {"stages": {0: [kinds]}}


def test_missing_tree_is_one_message(tmp_path, capsys):
    assert demo.main(["--tree", str(tmp_path), "--out", str(tmp_path / "data")]) == 1
    assert "expected script/LEVEL/dialogs_cs.lua" in capsys.readouterr().err
