import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep.packages import steel_sky
from data_prep.packages.steel_sky import CODES, decode, load, open_game, read_messages
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import frames_of
from slam_plugin.data.locations import parse_location, read_bytes
from tests.data_prep.layouts.games import RATE, noise, sky_codes, write_disk, write_sky
from tests.data_prep.layouts.rnc import pack
from tests.data_prep.preparing import check_clean, check_sharing, contents, rows_of, run_command


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return tmp_path_factory.mktemp("publisher")


@pytest.fixture(scope="module")
def english(tree):
    return write_sky(tree)


@pytest.fixture(scope="module")
def made(tree, english, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "sky"
    assert run_command(steel_sky.main, "--tree", tree, "--out", out) == 0
    return out


def test_codes_are_those_of_the_leaves():
    found = {(len(bits), int(bits, 2)): character for character, bits in sky_codes()}
    assert found == CODES and len(found) == 123
    assert sum(2.0**-length for length, _ in CODES) <= 1


def test_every_message(tree, english):
    root = tree / steel_sky.FOLDER
    for (section, number), text in english.items():
        assert decode(read_messages(root, "en", section)[number], "en") == text
        assert decode(read_messages(root, "de", section)[number], "de") == f"{text} größe"
        assert decode(read_messages(root, "pt", section)[number], "pt") == f"{text} não"
    assert read_messages(root, "en", 0)[1] in (b"", english.get((0, 1), "").encode())


def test_manifests(made, english):
    check_clean(made, 40)
    rows = {split: rows_of(made / f"{split}.tsv") for split in ("train", "dev", "test")}
    assert {split: len(found) for split, found in rows.items()} == {"train": 12, "dev": 6, "test": 6}
    for row in (row for found in rows.values() for row in found):
        section, number = map(int, row["id"].split("-")[1:])
        text = english[section, number].lower().replace(",", "").replace("!", "")
        assert row["tgt_text"] == text and row["fr_text"] == f"{text} élève" and row["lang"] == "en"
        assert row["scene"] == f"steel_sky-{section}-{number // 32}"
        sound = noise(1000 * section + number)
        assert row["n_frames"] == frames_of(len(sound), RATE)
        found, rate = soundfile.read(io.BytesIO(read_bytes(parse_location(row["audio"], made))), dtype="int16")
        assert rate == RATE and (found // 256 + 128).astype(np.uint8).tobytes() == sound
    scenes = [{row["scene"] for row in found} for found in rows.values()]
    assert not scenes[0] & (scenes[1] | scenes[2]) and not scenes[1] & scenes[2]
    unspoken = [(made / f"unspoken.{language}").read_text().splitlines() for language in ("en", "de")]
    assert len(unspoken[0]) == 8 and unspoken[1] == [f"{text} größe" for text in unspoken[0]]


def test_the_same_however_the_work_is_shared(tree, english, tmp_path):
    check_sharing(open_game(tree, tmp_path / "sound"), tmp_path)


def test_sound_is_the_same_bytes(tree, made, tmp_path):
    assert run_command(steel_sky.main, "--tree", tree, "--out", tmp_path / "again", "--jobs", "2") == 0
    assert contents(tmp_path / "again/sound") == contents(made / "sound") != {}


def test_faults_are_named(tmp_path, capsys):
    assert run_command(steel_sky.main, "--tree", tmp_path, "--out", tmp_path / "out") == 1
    assert "sky.dnr: there is no such file; it is part of the package beneath-a-steel-sky" in capsys.readouterr().err
    folder = tmp_path / "game"
    sound = bytes([0x81]) + bytes(21) + pack(noise(0))
    write_disk(folder, {50000: sound, 60600: b"\x08\x00\x09\x00"})
    assert len(load(folder, 50000)) == 22 + len(noise(0))
    with pytest.raises(DataError, match=r"sky\.dnr: holds no file 7"):
        load(folder, 7)
    with pytest.raises(DataError, match=r"sky\.dsk: file 60600: is corrupt"):
        read_messages(folder, "en", 0)
    disk = (folder / "sky.dsk").read_bytes()
    (folder / "sky.dsk").write_bytes(disk[:60] + bytes(100) + disk[160:])
    with pytest.raises(DataError, match=r"sky\.dsk: file 50000: is corrupt"):
        load(folder, 50000)
    (folder / "sky.dsk").write_bytes(disk[:100])
    with pytest.raises(DataError, match=r"sky\.dsk: is cut short, file 50000 has 100 of \d+ bytes"):
        load(folder, 50000)
    short = Path(tmp_path / "short.dnr")
    short.write_bytes((folder / "sky.dnr").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"short\.dnr: is cut short"):
        steel_sky.read_index(short)
