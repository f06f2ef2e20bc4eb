"""TED-LIUM 3 from its publisher's layout: STM tables and SPHERE, and what is left out."""

import pytest
import soundfile

from data_prep.corpora import tedlium
from data_prep.engine.command import prepare
from slam_plugin.data.audio import count_frames
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.sounds import cut_short
from tests.data_prep.layouts.sphere import write_shortened, write_sphere
from tests.data_prep.layouts.tedlium import TALKS, write_stm, write_tedlium
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of


def test_every_split(tmp_path):
    top = write_tedlium(tmp_path / "corpus")
    made = check_sharing(tedlium.open_corpus(tmp_path / "corpus"), tmp_path)
    check_clean(made)
    rows = rows_of(made / "train.tsv")
    assert [(row["id"], row["tgt_text"]) for row in rows] == [
        ("911Mothers_2010W-0001", "our two sons weren't the only ones"),
        ("AaronHuey_2010X-0001", "i'm here today to show my photographs"),
        ("AaronHuey_2010X-0002", "it's about o'clock isn't it"),
    ]
    assert rows[2]["audio"] == f"{top}/legacy/train/sph/AaronHuey_2010X.sph:36000:28000"
    assert rows[2]["n_frames"] == count_frames(rows[2]["audio"], "/") == 1 + (28000 - 400) // 160
    assert rows[2]["speaker"] == "AaronHuey_2010X"
    dev, test = rows_of(made / "dev.tsv"), rows_of(made / "test.tsv")
    assert [row["tgt_text"] for row in dev + test] == [
        "last year i showed these two slides",
        "i'm going to talk today about energy",
    ]
    assert dev[0]["speaker"] == "AlGore" and dev[0]["id"] == "AlGore_2009-0003"
    assert dropped(made) == {"legacy/dev/stm/AlGore_2009.stm:2": "is not transcribed (ignore_time_segment_in_scoring)"}


def test_what_is_left_out_is_listed(tmp_path):
    top = write_tedlium(tmp_path)
    train = top / "legacy/train"
    talk = "AaronHuey_2010X"
    more = [
        f"{talk} 1 {talk} 3.99 4.80 <NA> too early",
        f"{talk} 1 {talk} 4.90 7.50 <NA> too long",
        f"{talk} 1 {talk} 7.50 8.02 <NA> too late",
        f"{talk} 1 {talk} five 6.00 <NA> no time",
        f"{talk} 1",
        f"{talk} 1 {talk} 5.00 6.00 <NA> <unk> {{NOISE}}",
    ]
    path = write_stm(top, f"train/{talk}", TALKS[f"train/{talk}"] + more)
    with path.open("ab") as file:
        file.write(b"AaronHuey_2010X 1 AaronHuey_2010X 5.00 6.00 <NA> \xff\n")
    write_sphere(train / "sph/NobodyWrote_2011.sph", 1.0)
    write_stm(top, "train/NobodyHeard_2011", [])
    for name in ("Short_2011", "Compressed_2011"):
        write_stm(top, f"train/{name}", [f"{name} 1 {name} 0.00 0.50 <NA> words"])
    cut_short(write_sphere(train / "sph/Short_2011.sph", 2.0))
    write_shortened(train / "sph/Compressed_2011.sph")
    stats = prepare(tedlium.open_corpus(top, max_seconds=2.5), tmp_path / "out")
    found = dropped(tmp_path / "out")
    stm = f"legacy/train/stm/{talk}.stm"
    no_line = "is no STM line (RECORDING CHANNEL SPEAKER BEGIN END <LABEL> TEXT)"
    short = found.pop("legacy/train/sph/Short_2011.sph")
    assert short.startswith("is cut short, 157") and short.endswith("of the 32000 samples of its header can be decoded")
    compressed = found.pop("legacy/train/sph/Compressed_2011.sph")
    assert compressed.startswith("is SPHERE compressed by shorten")
    assert {place: reason for place, reason in found.items() if place.startswith("legacy/train")} == {
        f"{stm}:3": "overlaps what the same speaker says before (3.99 is before 4.0 s)",
        f"{stm}:4": "is longer than 2.5 s",
        f"{stm}:5": "reaches beyond the end of the recording (8.02 of 8.000 s)",
        f"{stm}:6": no_line,
        f"{stm}:7": no_line,
        f"{stm}:8": "has no words",
        f"{stm}:9": "is not UTF-8 (invalid start byte)",
        "legacy/train/sph/NobodyWrote_2011.sph": "has no transcript",
        "legacy/train/stm/NobodyHeard_2011.stm": "has no sound file",
    }
    assert stats["dropped"][no_line] == 2
    check_clean(tmp_path / "out")


def test_what_was_decompressed_is_taken(tmp_path):
    top = write_tedlium(tmp_path)
    talk = top / "legacy/test/sph/BillGates_2010.sph"
    samples, rate = soundfile.read(talk)
    soundfile.write(talk.with_suffix(".wav"), samples, rate)
    write_shortened(talk)
    prepare(tedlium.open_corpus(top), tmp_path / "out")
    assert [row["audio"] for row in rows_of(tmp_path / "out/test.tsv")] == [f"{talk.with_suffix('.wav')}:4000:28000"]


def test_what_is_no_tedlium(tmp_path):
    top = write_tedlium(tmp_path)
    with pytest.raises(DataError, match="holds none of legacy/train, legacy/dev, legacy/test"):
        tedlium.open_corpus(top / "legacy")
    (top / "legacy/dev/stm/AlGore_2009.stm").unlink()
    with pytest.raises(DataError, match=r"dev/stm: holds no TALK\.stm"):
        list(tedlium.open_corpus(top).units())
