"""SpeechStew: seven corpora in one training manifest, separate tests, and utterances of long recordings."""

import json

import pytest
import soundfile

from data_prep.corpora import common_voice_asr, speechstew
from data_prep.engine.command import prepare
from data_prep.engine.mixture import Member, Mixture
from data_prep.engine.units import Output
from data_prep.formats.recordings import COLUMNS, decode_recording
from data_prep.formats.sound import UnusableSound
from slam_plugin.data.errors import DataError
from slam_plugin.data.lengths import count_frames, frames_of
from tests.data_prep.layouts.common_voice import HEADER, clip_name, write_table
from tests.data_prep.layouts.librispeech import CHAPTERS, write_librispeech
from tests.data_prep.layouts.sounds import cut_short, write_sound
from tests.data_prep.layouts.speechstew import write_speechstew, write_splits
from tests.data_prep.layouts.tedlium import write_tedlium
from tests.data_prep.preparing import check_clean, check_recognizer_trains, check_sharing, dropped, rows_of, run_command

TESTS = ("ami-ihm", "ami-sdm1", "common-voice", "switchboard", "callhome", "tedlium", "wsj")
DEVS = ("ami-ihm", "ami-sdm1", "common-voice", "librispeech-clean", "tedlium", "wsj")


def test_all_corpora(tmp_path):
    corpus = speechstew.open_corpus(write_speechstew(tmp_path / "corpora"))
    made = check_sharing(corpus, tmp_path)
    check_clean(made)
    tables = {path.name for path in made.glob("*.tsv")} - {"dropped.tsv"}
    expected = {"train", "valid", *(f"test-{name}" for name in TESTS), *(f"dev-{name}" for name in DEVS)}
    assert tables == {f"{name}.tsv" for name in expected}
    developed = [row["id"] for name in DEVS for row in rows_of(made / f"dev-{name}.tsv")]
    assert sorted(row["id"] for row in rows_of(made / "valid.tsv")) == sorted(developed)
    rows = rows_of(made / "train.tsv")
    members = [next(name for name in speechstew.MEMBERS if row["id"].startswith(f"{name}-")) for row in rows]
    # As many as each corpus has by itself, one corpus after the other.
    counts = {name: members.count(name) for name in dict.fromkeys(members)}
    librispeech = sum(len(texts) for chapter, texts in CHAPTERS.items() if chapter.startswith("train"))
    assert list(counts.items()) == [
        *(("ami", 6), ("common-voice", 6), ("librispeech", librispeech), ("switchboard", 3)),
        *(("fisher", 2), ("tedlium", 3), ("wsj", 3)),
    ]
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    assert found["switchboard-sw2001B-ms98-a-0001"]["speaker"] == "switchboard-sw02001-B"
    assert found["librispeech-103-1241-0002"]["tgt_text"] == "it's a girl"
    assert [row["tgt_text"] for row in rows_of(made / "test-common-voice.tsv")] == ["go do you hear"]
    check_recognizer_trains(made, tmp_path)
    stats = json.loads((made / "stats.json").read_text())
    assert stats["noted"]["switchboard: resampled from 8000 Hz"] == 3
    assert "tedlium/legacy/dev/stm/AlGore_2009.stm:2" in dropped(made)


def test_some_corpora_by_the_command(tmp_path, capsys):
    write_tedlium(tmp_path / "ted")
    write_librispeech(tmp_path)
    out = tmp_path / "out"
    words = ["--out", out, "--tedlium", tmp_path / "ted", "--librispeech", tmp_path, "--max-seconds", 1.8]
    assert run_command(speechstew.main, *words) == 0
    assert "test-tedlium.tsv: 1 utterances" in capsys.readouterr().out
    assert dropped(out)["tedlium/legacy/train/stm/911Mothers_2010W.stm:1"] == "is longer than 1.8 s"
    assert {path.name for path in out.glob("*.tsv")} == {
        *("train.tsv", "valid.tsv", "dev-librispeech-clean.tsv", "dev-tedlium.tsv", "test-tedlium.tsv", "dropped.tsv")
    }
    assert run_command(speechstew.main, "--out", tmp_path / "none") == 1
    assert "found no corpus, expected one or more of --ami, --common-voice" in capsys.readouterr().err
    assert run_command(speechstew.main, "--out", tmp_path / "none", "--wsj", tmp_path / "gone") == 1
    assert "gone: there is no such folder" in capsys.readouterr().err


def test_common_voice(tmp_path):
    root = write_splits(tmp_path / "corpus")
    made = check_sharing(common_voice_asr.open_corpus(root), tmp_path)
    rows = rows_of(made / "train.tsv")
    assert [row["tgt_text"] for row in rows[:3]] == [
        *("the party's over isn't it", "hello she said what is it", "ferries cross the river at noon")
    ]
    assert rows[0]["audio"] == str(root / "en/clips" / clip_name("en", 0)) and rows[0]["id"] == clip_name("en", 0)[:-4]
    fields = {"client_id": "0", "path": clip_name("en", 0), "sentence": "..."}
    more = [fields, fields | {"path": "gone.mp3", "sentence": "a"}, fields | {"path": "long.mp3", "sentence": "b"}]
    write_sound(root / "en/clips/long.mp3", 1.5, 48000, format="MP3")
    more = [dict.fromkeys(HEADER, "") | row for row in more]
    write_table(root / "en/dev.tsv", HEADER, more)
    with (root / "en/test.tsv").open("ab") as file:
        file.write(b"too\tfew\n\xff\n")
    with pytest.raises(DataError, match=r"found no item for dev\.tsv"):
        prepare(common_voice_asr.open_corpus(root, 1.0), tmp_path / "failing")
    write_table(root / "en/dev.tsv", HEADER, [*more, more[0] | {"sentence": "c"}])
    prepare(common_voice_asr.open_corpus(root, 1.0), tmp_path / "out")
    assert dropped(tmp_path / "out") == {
        "dev.tsv:2": "has no words",
        "dev.tsv:3": "there is no such file",
        "dev.tsv:4": "is longer than 1.0 s",
        "test.tsv:3": f"has 2 columns, expected the {len(HEADER)} of the header",
        "test.tsv:4": "is not UTF-8 (invalid start byte)",
    }
    with pytest.raises(DataError, match="is no release of Common Voice"):
        common_voice_asr.open_corpus(root / "en/clips")


def test_members_of_different_columns(tmp_path):
    class Other(common_voice_asr.CommonVoiceSplits):
        @property
        def outputs(self):
            return {"train": Output(("train.tsv",), ("id", "audio", "n_frames"))}

    names = {"train": ("train",)}
    members = (
        Member("one", common_voice_asr.CommonVoiceSplits(tmp_path, ("train",)), names),
        Member("two", Other(tmp_path, ("train",)), names),
    )
    assert Mixture("mixed", members[:1]).outputs == {"train": Output(("train.tsv",), COLUMNS)}
    with pytest.raises(DataError, match=r"train: two has columns \('id', 'audio', 'n_frames'\), others \('id'"):
        _ = Mixture("mixed", members).outputs


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_frames_are_those_of_training(tmp_path, rate):
    path = write_sound(tmp_path / "talk.wav", 1.0, rate)
    for samples in (rate // 10, rate // 10 + 1, rate // 3, rate // 2 - 1, rate):
        assert frames_of(samples, rate) == count_frames(f"{path}:0:{samples}", "/")


def test_recordings_are_decoded_to_their_end(tmp_path):
    path = write_sound(tmp_path / "talk.flac", 3.0, 8000, 2)
    assert decode_recording(path) == (298, 24000, 8000, 2)
    cut_short(path)
    with pytest.raises(UnusableSound) as caught:
        decode_recording(path)
    assert caught.value.reason.startswith(("is cut short", "cannot be decoded to its end"))
    samples = soundfile.read(write_sound(tmp_path / "talk.wav", 1.0))[0]
    samples[9000] = float("nan")
    soundfile.write(tmp_path / "talk.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(UnusableSound, match="holds samples that are infinite or no number"):
        decode_recording(tmp_path / "talk.wav")
    with pytest.raises(UnusableSound, match=r"gone\.sph: there is no such file"):
        decode_recording(tmp_path / "gone.sph")
