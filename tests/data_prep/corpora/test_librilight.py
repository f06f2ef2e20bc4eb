"""Libri-Light from its publisher's layout to manifests of stretches: cuts, and what is left out."""

import json

import numpy as np
import pytest
import soundfile

from data_prep.corpora import librilight
from data_prep.engine.command import prepare
from slam_plugin.data.audio import count_frames
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.librilight import RECORDINGS, write_librilight, write_recording, write_voice
from tests.data_prep.layouts.sounds import cut_short
from tests.data_prep.preparing import check_clean, check_sharing, check_speech_pretrains, dropped, rows_of, run_command

FAIRIES = "small/100/sea_fairies_0812_librivox_64kb_mp3"
SPEAKERS = {"100", "1401", "32", "968"}


def parts_of(rows):
    """Return (path, begin, samples) of each row."""
    return [(path, int(begin), int(samples)) for path, begin, samples in (row["audio"].split(":") for row in rows)]


def test_both_subsets(tmp_path):
    root = write_librilight(tmp_path / "corpus")
    corpus = librilight.open_corpus(root, train_shards=2, valid_parts=3)
    made = check_sharing(corpus, tmp_path)
    check_clean(made)
    assert {path.name for path in made.glob("*.tsv")} == {"train-00.tsv", "train-01.tsv", "valid.tsv", "dropped.tsv"}
    # Of the md5 of the speakers' names only that of 1401 is divisible by 3.
    assert {row["speaker"] for row in rows_of(made / "valid.tsv")} == {"1401"}
    first = f"{root}/{FAIRIES}/01_baum_sea_fairies_64kb.flac"
    assert rows_of(made / "train-00.tsv") == [
        # 0.4 s to 5.0 s with 0.2 s on either side.
        {
            "id": f"{FAIRIES}/01_baum_sea_fairies_64kb-000003200",
            "audio": f"{first}:3200:80000",
            "n_frames": 498,
            "speaker": "100",
        },
        # 7.5 s to 8.9 s: 0.1 s is left at the end.
        {
            "id": f"{FAIRIES}/01_baum_sea_fairies_64kb-000116800",
            "audio": f"{first}:116800:27200",
            "n_frames": 168,
            "speaker": "100",
        },
    ]
    rows = rows_of(made / "train-01.tsv")
    assert {row["speaker"] for row in rows} == {"100", "32", "968"}
    everything = [*rows, *rows_of(made / "train-00.tsv"), *rows_of(made / "valid.tsv")]
    assert len({row["id"] for row in everything}) == len(everything) == 8
    assert {path for path, _, _ in parts_of(everything)} == {f"{root}/{key}.flac" for key in RECORDINGS}
    check_speech_pretrains(made, tmp_path, ["train-00.tsv", "train-01.tsv"])


def test_more_shards_than_recordings_are_refused_by_their_flag(tmp_path):
    root = write_librilight(tmp_path / "corpus")
    expected = r"found no item for train-.*; expected fewer --train-shards than 10"
    with pytest.raises(DataError, match=expected):
        prepare(librilight.open_corpus(root, train_shards=10, valid_parts=3), tmp_path / "out")


def test_unbroken_speech_is_cut_at_its_quietest_frame(tmp_path):
    root = write_librilight(tmp_path / "corpus")
    prepare(librilight.open_corpus(root, ["small"], train_shards=1), tmp_path / "out")
    path = root / FAIRIES / "02_baum_sea_fairies_64kb.flac"
    (_, begin, samples), (_, cut, rest) = [
        part for part in parts_of(rows_of(tmp_path / "out/train.tsv")) if part[0] == str(path)
    ]
    # The margin before the first piece is what the limit leaves room for, and there is none where speech is cut.
    assert begin == 7680 - min(3200, (480_000 - (cut - 7680)) // 2)
    assert cut == begin + samples and cut + rest == round(41.48 * 16000)
    waveform = soundfile.read(path, dtype="float64")[0]
    energies = np.square(waveform[: len(waveform) // 160 * 160]).reshape(-1, 160).sum(axis=1)
    within = slice(1548, 3048)  # 15 s to 30 s behind the beginning of the voice at 0.48 s
    assert energies[cut // 160] <= energies[within].min() * (1 + 1e-5) and within.start <= cut // 160 < within.stop


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 1), (44100, 2)])
def test_frames_are_those_of_decoding(tmp_path, rate, channels):
    root = write_librilight(tmp_path / "corpus")
    path = root / f"{FAIRIES}/03_other.flac"
    write_recording(path, 17.3, [(0.31, 2.947), (5.2, 16.1)], rate)
    if channels == 2:
        mono = soundfile.read(path)[0]
        soundfile.write(path, np.stack([mono, mono], axis=1), rate)
    stats = prepare(librilight.open_corpus(root, max_seconds=7, train_shards=1), tmp_path / "out")
    rows = rows_of(tmp_path / "out/train.tsv")
    assert all(row["n_frames"] == count_frames(row["audio"], "/") <= 700 for row in rows)
    mine = [row for row in rows if "03_other" in row["id"]]
    assert len(mine) == 3 and mine[0]["audio"] == f"{path}:{round(0.31 * rate) - round(0.2 * rate)}:" + str(
        round(2.947 * rate) - round(0.31 * rate) + 2 * round(0.2 * rate)
    )
    expected = {f"resampled from {rate} Hz": 3} | ({"averaged over 2 channels": 3} if channels == 2 else {})
    assert stats["noted"] == expected


def test_what_is_left_out_is_listed(tmp_path):
    root = write_librilight(tmp_path / "corpus")
    book = root / FAIRIES
    for number in range(10, 22):
        write_recording(book / f"{number}.flac", 3.0, [(0.5, 2.5)])
    (book / "10.json").unlink()
    (book / "11.json").write_text('{"speaker": "100", "voice_activity": [[0.5,')
    (book / "12.json").write_bytes(b'{"title": "\xff"}')
    (book / "13.json").write_text('{"speaker": "100", "snr": 5.1}')
    (book / "14.json").write_text("[1, 2]")
    write_voice(book / "15.flac", [])
    write_voice(book / "16.flac", [(0.5, 4.5)])
    cut_short(book / "17.flac")
    (book / "18.flac").unlink()
    write_voice(book / "19.flac", [(0.5, 2.5), (2.6, 2.6), (2.7,), ("a", 3)])
    write_voice(book / "20.flac", [(1.0, 1.5)])
    (book / "21.flac").write_bytes(b"no sound at all")
    # Within the slack: cut at the end of the recording, and one that lies behind it altogether.
    write_recording(book / "22.flac", 3.0, [(0.5, 2.5)])
    write_voice(book / "22.flac", [(0.5, 3.5), (3.6, 3.9)])
    write_recording(book / "23.flac", 3.0, [(0.5, 2.5)])
    write_voice(book / "23.flac", [(3.1, 3.9)])
    stats = prepare(librilight.open_corpus(root, train_shards=1), tmp_path / "out")
    lines = (tmp_path / "out/dropped.tsv").read_text().splitlines()[1:]
    found = dropped(tmp_path / "out")
    assert found.pop(f"{FAIRIES}/17.flac").startswith(("is cut short", "cannot be decoded"))
    assert found.pop(f"{FAIRIES}/21.flac").startswith("cannot be decoded")
    faults = [(2, "[2.6, 2.6]"), (3, "[2.7]"), (4, "['a', 3]")]
    told = [f"voice activity {number} is {what}, expected [begin, end] in seconds" for number, what in faults]
    assert [line.split("\t")[1] for line in lines if "/19." in line] == told
    assert found.pop(f"{FAIRIES}/19.json") == told[-1]
    assert found == {
        f"{FAIRIES}/10.json": "cannot be read (No such file or directory)",
        f"{FAIRIES}/11.json": "is not JSON (Expecting value)",
        f"{FAIRIES}/12.json": "is not UTF-8 (invalid start byte)",
        f"{FAIRIES}/13.json": "holds no list voice_activity",
        f"{FAIRIES}/14.json": "holds no list voice_activity",
        f"{FAIRIES}/15.flac": "has no voice activity",
        f"{FAIRIES}/16.flac": "has voice activity beyond its end (4.5 of 3.000 s)",
        f"{FAIRIES}/18.flac": "there is no such file",
        f"{FAIRIES}/20.flac:12800:14400": "is shorter than 1.0 s",
        f"{FAIRIES}/23.flac": "has no voice activity",
    }
    assert stats["dropped"]["is shorter than # s"] == 1 and stats["dropped"]["has no voice activity"] == 2
    rows = {row["id"].partition("-")[0]: row for row in rows_of(tmp_path / "out/train.tsv")}
    assert rows[f"{FAIRIES}/19"]["audio"].endswith(":4800:38400")
    assert rows[f"{FAIRIES}/22"]["audio"].endswith(":4800:43200")
    check_clean(tmp_path / "out")


def test_a_speaker_is_held_out_at_least(tmp_path):
    """Of the four speakers, the md5 of 32 is the lowest, and none is divisible by 2000."""
    root = write_librilight(tmp_path / "corpus")
    outputs = {unit.key: unit.data[0] for unit in librilight.open_corpus(root).units()}
    assert {key.split("/")[1] for key, output in outputs.items() if output == "valid"} == {"32"}
    assert {key.split("/")[1] for key, output in outputs.items() if output != "valid"} == SPEAKERS - {"32"}


def test_units_read_no_voice_activity(tmp_path):
    root = write_librilight(tmp_path / "corpus")
    for path in root.rglob("*.json"):
        path.write_bytes(b"\xff")
    units = list(librilight.open_corpus(root).units())
    assert [unit.key for unit in units] == sorted(RECORDINGS, key=lambda key: (key.startswith("medium"), key))
    assert [unit.size for unit in units] == [(root / f"{unit.key}.flac").stat().st_size for unit in units]


def test_one_subset_and_duplicates(tmp_path, capsys):
    root = write_librilight(tmp_path / "corpus")
    write_recording(root / "duplicate/7/a_book/a_part.flac", 3.0, [(0.5, 2.5)])
    whole = {unit.key: unit for unit in librilight.open_corpus(root).units()}
    assert whole.keys() == RECORDINGS.keys()
    assert [unit.key for unit in librilight.open_corpus(root, ["duplicate"]).units()] == ["duplicate/7/a_book/a_part"]
    alone = librilight.open_corpus(root / "medium")
    assert alone.root == root and alone == librilight.open_corpus(root, ["medium"])
    with pytest.raises(DataError, match=r"found small, medium, duplicate, expected large"):
        librilight.open_corpus(root, ["small", "large"])
    with pytest.raises(DataError, match=r"found no subset, expected small, medium, large, duplicate"):
        librilight.open_corpus(root / "small/100")
    (root / "large").mkdir()
    with pytest.raises(DataError, match=r"large: holds no SPEAKER/BOOK/\*.flac"):
        list(librilight.open_corpus(root).units())
    assert run_command(librilight.main, "--root", root, "--out", tmp_path / "out", "--max-seconds", "2") == 1
    assert "--max-seconds: found 2.0, expected at least 3.0" in capsys.readouterr().err


def test_the_command(tmp_path, capsys):
    root = write_librilight(tmp_path / "corpus")
    words = ["--root", root, "--out", tmp_path / "out", "--max-seconds", 8, "--train-shards", 2, "--valid-parts", 3]
    assert run_command(librilight.main, *words) == 0
    assert "valid.tsv: 1 utterances" in capsys.readouterr().out
    recipe = json.loads((tmp_path / "out/stats.json").read_text())["recipe"]
    assert recipe["seconds of a stretch"] == [1.0, 8.0] and recipe["subsets"] == ["small", "medium"]
