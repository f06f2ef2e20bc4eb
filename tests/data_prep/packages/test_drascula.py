import numpy as np
import pytest

from data_prep.packages import drascula
from data_prep.packages.drascula import open_game, read_texts, trim
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.games import RATE, noise, write_drascula
from tests.data_prep.preparing import check_clean, check_sharing, rows_of, run_command


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tmp_path_factory.mktemp("publisher")


@pytest.fixture(scope="module")
def english(tree):
    return write_drascula(tree)


def test_texts(tree, english):
    texts = read_texts(tree / drascula.FOLDER / "en/drascula.dat")
    for (bank, number), text in english.items():
        assert {language: lines[number] for language, lines in texts[bank].items()} == {
            "en": text, "es": f"{text} años", "de": f"{text} FüR", "fr": f"{text} élève", "it": f"{text} perché",
            "ru": f"{text} да",
        }  # fmt: skip
    assert sum(map(bool, texts[""]["en"])) == sum(bank == "" for bank, _ in english)


@pytest.mark.parametrize("language", ["en", "es"])
def test_manifests(tree, english, tmp_path, language):
    assert run_command(drascula.main, "--tree", tree, "--out", tmp_path / "made", "--language", language) == 0
    check_clean(tmp_path / "made", 40)
    rows = [row for split in ("train", "dev", "test") for row in rows_of(tmp_path / f"made/{split}.tsv")]
    assert len(rows) == len(english)
    for row in rows:
        bank, number = row["id"].split("-")[2:]
        text = english["" if bank == "HERO" else bank, int(number)].lower().rstrip("!")
        said = {"en": text, "es": f"{text} años"}
        assert row["tgt_text"] == said[language] and row["lang"] == language and row["speaker"] == bank
        assert row["de_text"] == f"{text} für"
        assert row["es_text" if language == "en" else "en_text"] == said["es" if language == "en" else "en"]
        # Four seconds of silence are cut to 0.15 s at each end.
        assert abs(row["n_frames"] - 100 * (len(noise(0)) / RATE + 0.3)) < 4


def test_silence():
    loud = np.array([0, 0, 5000, 0, -5000, 0], np.int16)
    samples = np.concatenate([np.zeros(9000, np.int16), loud, np.zeros(9000, np.int16)])
    kept = trim(samples)
    assert len(kept) == 2 * 1653 + 2 and np.abs(kept).max() == 5000
    assert len(trim(np.zeros(100, np.int16))) == 0
    # The most negative sample is loud as well.
    assert len(trim(np.full(10, -32768, np.int16))) == 10


def test_the_same_however_the_work_is_shared(tree, english, tmp_path):
    check_sharing(open_game(tree, tmp_path / "sound"), tmp_path)


def test_faults_are_named(tree, english, tmp_path):
    with pytest.raises(DataError, match=r"drascula\.dat: there is no such file; it is part of the package drascula"):
        open_game(tmp_path, tmp_path / "out")
    data = (tree / drascula.FOLDER / "en/drascula.dat").read_bytes()
    for name, content, message in (
        ("other", b"x" + data, "found b'xDRASCUL' at its start, expected b'DRASCULA'"),
        ("short", data[:5000], "is cut short or corrupt, 5000 bytes end within its tables"),
        ("few", data[: len(b"DRASCULA") + 1] + bytes(2 * len(drascula.WIDTHS)) + b"\0\2", "holds 2 languages"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: {message}"):
            read_texts(tmp_path / name)
