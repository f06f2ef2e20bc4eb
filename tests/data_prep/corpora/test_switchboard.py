"""Telephone conversations from their publisher's layouts: sides, resampling, three notations, what is left out."""

import numpy as np
import pytest
import soundfile

from data_prep.corpora.switchboard import Fisher, Hub5, Switchboard
from data_prep.engine.command import prepare
from slam_plugin.data.audio import count_frames, read_audio
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.sphere import write_shortened, write_sphere
from tests.data_prep.layouts.switchboard import (
    ISIP,
    STM,
    write_fisher,
    write_hub5,
    write_isip,
    write_references,
    write_switchboard,
)
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of


def test_switchboard(tmp_path):
    root = write_switchboard(tmp_path / "corpus")
    made = check_sharing(Switchboard(root), tmp_path)
    check_clean(made)
    rows = rows_of(made / "train.tsv")
    assert [(row["id"], row["speaker"], row["tgt_text"]) for row in rows] == [
        ("sw2001A-ms98-a-0002", "sw02001-A", "hi yeah i'd like to talk about how you dress for"),
        ("sw2001A-ms98-a-0003", "sw02001-A", "and t v mhm world them"),
        ("sw2001B-ms98-a-0001", "sw02001-B", "uhhuh yuppiedom"),
    ]
    sound = root / "swb1_d1/data/sw02001.sph"
    assert [row["audio"] for row in rows] == [f"{sound}:9600:14402:0", f"{sound}:24002:15998:0", f"{sound}:0:20000:1"]
    # Twice as many samples at 16 kHz, and side B is the second channel.
    assert [row["n_frames"] for row in rows] == [count_frames(row["audio"], "/") for row in rows]
    assert rows[2]["n_frames"] == 1 + (40000 - 400) // 160
    other = soundfile.read(sound)[0][:20000, 1]
    found = read_audio(rows[2]["audio"]).numpy()
    assert np.corrcoef(found[::2], other)[0, 1] > 0.9
    assert set(dropped(made).values()) == {"has no words"} and len(dropped(made)) == 2


def test_fisher(tmp_path):
    root = write_fisher(tmp_path / "corpus")
    made = check_sharing(Fisher(root), tmp_path)
    check_clean(made)
    rows = rows_of(made / "train.tsv")
    assert [(row["id"], row["tgt_text"]) for row in rows] == [
        ("fe_03_00001-A-0004", "and generally prefer t v's"),
        ("fe_03_00001-B-0006", "mhm"),
    ]
    assert rows[1]["audio"] == f"{root}/fe_03_p1_sph1/audio/000/fe_03_00001.sph:16800:7200:1"
    place = "fe_03_p1_tran/data/trans/000/fe_03_00001.txt:8"
    assert dropped(made) == {place: "has words that the transcriber was not sure of"}


def test_hub5(tmp_path):
    root = write_hub5(tmp_path / "corpus")
    made = check_sharing(Hub5(root), tmp_path)
    check_clean(made)
    switchboard, callhome = rows_of(made / "test-switchboard.tsv"), rows_of(made / "test-callhome.tsv")
    assert [(row["id"], row["tgt_text"]) for row in switchboard] == [("sw_4390-A-0006", "well i know")]
    assert [(row["id"], row["tgt_text"]) for row in callhome] == [
        ("en_4156-A-0003", "he is a police officer"),
        ("en_4156-B-0004", "uhhuh a t v man"),
    ]
    assert callhome[1]["audio"] == f"{root}/hub5e_00/english/en_4156.sph:16000:16000:1"
    stm = "2000_hub5_eng_eval_tr/reference/hub5e00.english.000405.stm"
    assert dropped(made) == {f"{stm}:5": "is not transcribed (ignore_time_segment_in_scoring)"}


def test_what_is_left_out_is_listed(tmp_path):
    switchboard, fisher, hub5 = (tmp_path / name for name in ("switchboard", "fisher", "hub5"))
    write_switchboard(switchboard)
    write_isip(switchboard, "B", ["sw2001B-ms98-a-0001 begins", *ISIP["B"][:1], "sw2001B-ms98-a-0009 7.0 8.1 yes"])
    write_sphere(switchboard / "swb1_d1/data/sw02002.sph", 0.5, 8000, 2)
    write_isip(switchboard, "A", ISIP["A"]).with_name("sw2003A-ms98-a-trans.text").write_text("")
    stats = prepare(Switchboard(switchboard), tmp_path / "out")
    folder = "swb_ms98_transcriptions/20/2001"
    found = dropped(tmp_path / "out")
    assert found.pop(f"{folder}/sw2001A-ms98-a-trans.text:1") == "has no words"
    assert found == {
        f"{folder}/sw2001B-ms98-a-trans.text:1": "is no line ID BEGIN END TEXT",
        f"{folder}/sw2001B-ms98-a-trans.text:3": "reaches beyond the end of the recording (8.1 of 8.000 s)",
        "swb1_d1/data/sw02002.sph": "has no transcript",
        f"{folder}/sw2003A-ms98-a-trans.text": "has no sound file",
    }
    assert stats["noted"] == {"resampled from 8000 Hz": 3}

    write_fisher(fisher)
    text = fisher / "fe_03_p1_tran/data/trans/000/fe_03_00001.txt"
    text.write_bytes(text.read_bytes() + b"5.0 6.0: no side\n6.0 7.0 A: \xe9\n")
    text.with_name("fe_03_00002.txt").write_text("0.0 1.0 A: compressed\n")
    write_shortened(fisher / "fe_03_p1_sph1/audio/000/fe_03_00002.sph", 8000, 2)
    text.with_name("fe_03_00003.txt").write_text("0.0 0.4 A: yes\n0.0 0.4 B: one side only\n")
    write_sphere(fisher / "fe_03_p1_sph1/audio/000/fe_03_00003.sph", 0.5, 8000, 1)
    stats = prepare(Fisher(fisher), tmp_path / "out fisher")
    found = dropped(tmp_path / "out fisher")
    place = "fe_03_p1_tran/data/trans/000/fe_03_0000"
    shortened = found.pop("fe_03_p1_sph1/audio/000/fe_03_00002.sph")
    assert shortened.startswith("is SPHERE compressed by shorten")
    assert found.pop(f"{place}1.txt:8") == "has words that the transcriber was not sure of"
    assert found == {
        f"{place}1.txt:9": "is no line BEGIN END SIDE: TEXT",
        f"{place}1.txt:10": "is not UTF-8 (invalid continuation byte)",
        f"{place}3.txt:2": "is on channel 1, and the recording has 1, counted from 0",
    }

    write_hub5(hub5)
    more = ["en_4157 A en_4157_A 0.0 1.0 <O,en,F,en-F> YES", "xx_1 A xx_1_A 0 1 <O> YES", "en_4156 A x zero 1", STM[-1]]
    write_references(hub5, [*STM[:-1], *more, "en_4156 C x 6.0 7.0 <O> YES"])
    write_sphere(hub5 / "hub5e_00/english/en_9999.sph", 0.5, 8000, 2)
    prepare(Hub5(hub5), tmp_path / "out hub5")
    found = dropped(tmp_path / "out hub5")
    stm = "2000_hub5_eng_eval_tr/reference/hub5e00.english.000405.stm"
    assert found == {
        f"{stm}:5": "is not transcribed (ignore_time_segment_in_scoring)",
        f"{stm}#en_4157": "has no sound file",
        f"{stm}#xx_1": "is neither Switchboard (sw_) nor CallHome (en_)",
        f"{stm}:8": "is no STM line (RECORDING CHANNEL SPEAKER BEGIN END <LABEL> TEXT)",
        f"{stm}:10": "is on channel C, expected A or B",
        "hub5e_00/english/en_9999.sph": "has no transcript",
    }


@pytest.mark.parametrize(("corpus", "expected"), [(Switchboard, "Switchboard"), (Fisher, "Fisher"), (Hub5, "Hub5'00")])
def test_what_is_no_such_corpus(tmp_path, corpus, expected):
    with pytest.raises(DataError, match=f"holds no (transcripts|references) of {expected}, expected "):
        list(corpus(tmp_path).units())
