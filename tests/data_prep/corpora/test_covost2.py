"""CoVoST 2 from its publisher's layout to manifests of several languages: splits, decoding, what is left out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from data_prep.corpora import covost2
from data_prep.engine.command import prepare
from data_prep.formats.sound import decode_sound
from data_prep.text.normalize import tidy
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.common_voice import SPEAKERS, clip_name
from tests.data_prep.layouts.covost2 import TRANSLATIONS, write_covost2
from tests.data_prep.layouts.sounds import cut_short, write_sound
from tests.data_prep.preparing import check_clean, check_sharing, check_translator_trains, dropped, rows_of, run_command


def test_several_pairs(tmp_path, monkeypatch):
    root = write_covost2(tmp_path / "corpus")
    monkeypatch.setattr(covost2, "STRETCH_BYTES", 300)
    made = check_sharing(covost2.open_corpus(root, TRANSLATIONS), tmp_path)
    check_clean(made)
    rows = rows_of(made / "train.tsv")
    assert [(row["id"], row["tgt_text"]) for row in rows] == [
        ("common_voice_en_17000000_en_de", "Die Party ist vorbei, nicht wahr?"),
        ("common_voice_en_17000000_en_ca", "La festa s'ha acabat, oi?"),
        ("common_voice_en_17000001_en_de", '"Hallo", sagte sie, "was ist?"'),
        ("common_voice_en_17000001_en_ca", '"Hola," va dir, "què és?"'),
        ("common_voice_en_17000003_en_ca", "Ningú no va contestar."),
        ("common_voice_en_17000004_en_de", "Caféhaustische standen in einer Reihe."),
        ("common_voice_fr_17000002_fr_en", '"Wait!" she says.'),
    ]
    assert rows[3] == {
        "id": "common_voice_en_17000001_en_ca",
        "audio": str(root / "en/clips/common_voice_en_17000001.mp3"),
        "n_frames": 48,
        "src_text": "hello she said what is it",
        "tgt_text": '"Hola," va dir, "què és?"',
        "speaker": SPEAKERS[1],
        "lang": "en",
        "tgt_lang": "ca",
    }
    spoken = {
        split: [(row["lang"], row["tgt_lang"], row["src_text"]) for row in rows_of(made / f"{split}.tsv")]
        for split in ("valid", "test")
    }
    assert spoken == {
        "valid": [("en", "de", "it's a girl"), ("en", "ca", "it's a girl"), ("fr", "en", "où est la gare")],
        "test": [
            ("en", "de", "go do you hear"),
            ("en", "ca", "go do you hear"),
            ("fr", "en", "il fait beau aujourd'hui"),
        ],
    }
    stats = json.loads((made / "stats.json").read_text())
    assert stats["dropped"] == {} and stats["noted"] == {"resampled from 48000 Hz": 9}
    check_translator_trains(made, tmp_path, languages=["de", "ca", "en"])


def test_a_clip_is_decoded_once(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(covost2, "decode_sound", lambda path: heard.append(path.name) or decode_sound(path))
    prepare(covost2.open_corpus(write_covost2(tmp_path / "corpus"), ["en_ca", "en_de"]), tmp_path / "out")
    assert heard == [clip_name("en", number) for number in (0, 1, 3, 4, 6, 7)]


def _append(path: Path, *rows: Sequence[str | int]) -> None:
    """Append rows. A number stands for the English clip of that number."""
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write("\t".join(clip_name("en", each) if isinstance(each, int) else each for each in row) + "\n")


def test_clips_that_are_left_out(tmp_path):
    root = write_covost2(tmp_path / "corpus")
    clips, validated = root / "en/clips", root / "en/validated.tsv"
    write_sound(clips / clip_name("en", 0), 0.5, 44100, 2, format="MP3")
    write_sound(clips / clip_name("en", 2), 0.08, 48000, format="MP3")
    (clips / clip_name("en", 3)).unlink()
    cut_short(clips / clip_name("en", 4), 0.6)
    write_sound(clips / clip_name("en", 9), 31, 16000, format="MP3")
    text = validated.read_text()
    validated.write_text(text.replace(f"{SPEAKERS[0]}\t{clip_name('en', 6)}", f"\t{clip_name('en', 6)}"))
    rest = ["2", "0", "", "", ""]
    _append(
        validated,
        ("x", 1, "A clip twice.", *rest),
        ("x", 8, "… – !", *rest),
        ("x", 9, "Long.", *rest),
        ("x", 10, "not translated, not there", *rest),
        ("x", 11, "Cut"),
    )
    with validated.open("ab") as file:
        file.write(b"x\xe9\ta.mp3\n")
    _append(root / "covost_v2.en_de.tsv", *((number, "Ja.", "train") for number in (2, 3, 8, 9)))
    stats = prepare(covost2.open_corpus(root, ["en_de", "en_ca"]), tmp_path / "out")
    found = dropped(tmp_path / "out")
    assert found.pop(f"en/clips/{clip_name('en', 4)}").startswith(("is cut short", "cannot be decoded"))
    assert found == {
        f"en/clips/{clip_name('en', 2)}": "is not 0.1 to 30 s long",
        f"en/clips/{clip_name('en', 3)}": "there is no such file",
        f"en/clips/{clip_name('en', 9)}": "is not 0.1 to 30 s long",
        "en/validated.tsv:10": "repeats a clip of an earlier row",
        "en/validated.tsv:11": "has an empty transcript",
        "en/validated.tsv:14": "has 3 columns, expected the 8 of the header",
        "en/validated.tsv:15": "is not UTF-8 (invalid continuation byte)",
    }
    assert stats["noted"] == {
        "averaged over 2 channels": 1,
        "resampled from 44100 Hz": 1,
        "resampled from 48000 Hz": 3,
        "without client_id: the speaker is empty": 1,
    }
    assert [row["speaker"] for row in rows_of(tmp_path / "out/valid.tsv")] == ["", ""]
    translations = {number: TRANSLATIONS["en_de"][number][0] for number in (0, 1)}
    assert [row["tgt_text"] for row in rows_of(tmp_path / "out/train.tsv")[::2]] == [*map(tidy, translations.values())]
    check_clean(tmp_path / "out")


def test_translations_that_are_left_out(tmp_path):
    root = write_covost2(tmp_path / "corpus")
    table = root / "covost_v2.en_de.tsv"
    _append(
        table,
        (0, "Noch einmal.", "train"),
        (3, "", "train"),
        (5, "[REMOVE]", "test"),
        (99, "Von niemandem gesprochen.", "train"),
        (2, "Aus Version 1.", "dev_covost"),
        ("", "Ohne Namen.", "train"),
        ("only.mp3",),
    )
    with table.open("ab") as file:
        file.write(clip_name("en", 2).encode() + b"\t\xff\ttrain\n")
    stats = prepare(covost2.open_corpus(root, ["en_de"]), tmp_path / "out")
    assert dropped(tmp_path / "out") == {
        f"{table.name}:7": "repeats a clip of an earlier translation",
        f"{table.name}:8": "has an empty translation",
        f"{table.name}:9": "its translation is marked REMOVE",
        f"{table.name}:10": "names a clip that is not in en/validated.tsv",
        f"{table.name}:11": "its split is none of train, train_covost, dev, test",
        f"{table.name}:12": "names no clip",
        f"{table.name}:13": "has 1 columns, expected the 3 of the header",
        f"{table.name}:14": "is not UTF-8 (invalid start byte)",
    }
    sizes = {name: found["utterances"] for name, found in stats["outputs"].items()}
    assert sizes == {"train.tsv": 3, "valid.tsv": 1, "test.tsv": 1}


def test_a_corpus_that_is_laid_out_in_another_way(tmp_path):
    root = write_covost2(tmp_path)
    for pair in ("en", "en_en", "en_de.tsv"):
        with pytest.raises(DataError, match=f"found the pair '{pair}', expected two languages such as en_de"):
            covost2.open_corpus(root, [pair])
    with pytest.raises(DataError, match=r"expected the translations covost_v2\.en_tr\.tsv or en/covost_v2\.en_tr\.tsv"):
        covost2.open_corpus(root, ["en_de", "en_tr"])
    (root / "covost_v2.en_tr.tsv").write_text("path\ttranslation\n")
    with pytest.raises(DataError, match=r"covost_v2\.en_tr\.tsv:1: the header lacks split"):
        covost2.open_corpus(root, ["en_tr"])
    (root / "fr/validated.tsv").unlink()
    with pytest.raises(DataError, match=r"fr: expected Common Voice's validated\.tsv and clips here"):
        covost2.open_corpus(root, ["fr_en"])


def test_the_command(tmp_path, capsys):
    root = write_covost2(tmp_path / "corpus")
    words = ["--root", root, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit):
        run_command(covost2.main, *words)
    assert run_command(covost2.main, *words, "--pairs", "fr_en", "fr_en") == 0
    assert "train.tsv: 1 utterances" in capsys.readouterr().out
    assert run_command(covost2.main, *words, "--pairs", "en_de") == 1
    assert "was made by" in capsys.readouterr().err
