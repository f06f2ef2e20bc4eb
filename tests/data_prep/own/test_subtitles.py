"""Subtitles beside recordings, as people have them, become utterances in order."""

import numpy as np
import pytest
import soundfile

from data_prep.engine.command import prepare
from data_prep.own import command as own
from data_prep.own.subtitles import Cue, read_cues, utterances
from tests.data_prep.preparing import check_clean, check_sharing, dropped, rows_of

SRT = """\ufeff1\r
00:00:01,000 --> 00:00:02,500\r
<i>It was a dark</i>\r
{\\an8}and stormy night.\r
\r
2\r
00:00:02,600 --> 00:00:03,900\r
- Who are you?\r
- JOHN: Nobody.\r
\r
3\r
00:00:04,000 --> 00:00:05,000\r
♪ la la la ♪\r
\r
4\r
00:00:05,100 --> 00:00:06,000\r
[door closes] (sighs)\r
\r
5\r
00:00:07,000 --> 00:00:08,000\r
\r
6\r
00:00:09.000 --> 00:00:10.000\r
Two speak\r
\r
7\r
00:00:09,100 --> 00:00:10,400\r
at once &amp; long\r
\r
8\r
00:00:13,000 --> 00:00:12,000\r
backwards\r
\r
9\r
00:00:59,000 --> 00:01:09,000\r
after the end\r
"""
YOUTUBE = """WEBVTT
Kind: captions
Language: en

NOTE made by a machine

STYLE
::cue { color: white }

intro
00:01.000 --> 00:03.000 align:start position:0%
 
hello<00:00:01.500><c> my</c><00:00:02.000><c> friends</c>

00:03.000 --> 00:03.010 align:start position:0%
hello my friends
 

00:03.010 --> 00:05.000 align:start position:0%
hello my friends
how<00:00:03.500><c> are</c><00:00:04.000><c> you</c>

00:06.500 --> 00:07.500
<v Roger Bingham>We are here.</v>
"""  # noqa: W293


def found_in(tmp_path, text, name="a.srt", max_seconds=30.0, encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return list(utterances(tmp_path / name, name, max_seconds))


def cues_in(*arguments, **options):
    return [(cue.start, cue.end, cue.text) for cue in found_in(*arguments, **options) if isinstance(cue, Cue)]


def test_an_srt_file_as_people_have_it(tmp_path):
    assert cues_in(tmp_path, SRT) == [
        (1.0, 3.9, "It was a dark and stormy night. Who are you? Nobody."),
        (9.0, 10.4, "Two speak at once & long"),
        (59.0, 69.0, "after the end"),
    ]
    others = [found for found in found_in(tmp_path, SRT) if not isinstance(found, Cue)]
    assert [getattr(found, "what", None) or found.reason for found in others] == [
        "ends before it begins (13 to 12 s)",
        "dashes and names of speakers left out",
        "dashes and names of speakers left out",
        "lines of songs left out",
        "overlapping subtitles put together",
        "sounds in brackets left out",
        *["subtitles without words left out"] * 3,
    ]


def test_rolling_captions_of_webvtt(tmp_path):
    assert cues_in(tmp_path, YOUTUBE, "a.vtt") == [
        (1.0, 5.0, "hello my friends how are you"),
        (6.5, 7.5, "We are here."),
    ]


def srt_of(*cues):
    def time(ms):
        return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    return "\n\n".join(f"{n}\n{time(begin)} --> {time(end)}\n{text}" for n, (begin, end, text) in enumerate(cues, 1))


def test_cues_are_put_together_to_sentences_within_the_limit(tmp_path):
    cues = [(0, 2000, "one"), (2100, 4000, "two."), (4100, 5000, "three"), (5900, 7000, "four"), (7000, 9000, "five")]
    assert [text for _, _, text in cues_in(tmp_path, srt_of(*cues))] == ["one two.", "three", "four five"]
    assert [text for _, _, text in cues_in(tmp_path, srt_of(*cues), max_seconds=3.0)] == [
        *("one", "two. three", "four", "five")
    ]
    touching = [(0, 2000, "one"), (1800, 4000, "two"), (10_000, 45_000, "long")]
    assert cues_in(tmp_path, srt_of(*touching), max_seconds=2.5) == [(0.0, 1.9, "one"), (1.9, 4.0, "two")]
    (dropped,) = (each for each in found_in(tmp_path, srt_of(*touching)) if not isinstance(each, Cue))
    assert dropped == ("a.srt#3", "lasts 35.00 s without a pause between subtitles")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("1\n00:01,0\ncafé\n".encode("cp1252"), "3: expected text in UTF-8 (invalid continuation byte at byte 13"),
        (b"", "holds no subtitles, expected SRT or WebVTT with times"),
        (b"some\ntext\n", "holds no subtitles, expected SRT or WebVTT with times"),
    ],
)  # fmt: skip
def test_files_without_subtitles_are_left_out(tmp_path, data, reason):
    (tmp_path / "a.srt").write_bytes(data)
    (found,) = utterances(tmp_path / "a.srt", "a.srt", 30.0)
    assert found.place == "a.srt" and found.reason.startswith(reason)


def test_utf_16_with_its_mark(tmp_path):
    (tmp_path / "a.srt").write_bytes(SRT.removeprefix("\ufeff").encode("utf-16"))
    assert len(read_cues(tmp_path / "a.srt")) == 9


def write_recording(path, seconds, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, int(seconds * rate))
    soundfile.write(path, samples, rate)


def test_recordings_with_subtitles_beside_them(tmp_path):
    folder = tmp_path / "mine"
    write_recording(folder / "talk.wav", 62)
    write_recording(folder / "more/short.wav", 4)
    write_recording(folder / "more/other.wav", 40)
    write_recording(folder / "more/two.wav", 40)
    (folder / "talk.en.srt").write_text(SRT, newline="")
    (folder / "talk.txt").write_text("it was a dark and stormy night")
    (folder / "more/short.srt").write_text(srt_of((0, 2000, "first"), (3500, 4500, "Second")))
    (folder / "more/other.txt").write_text("a plain text")
    (folder / "more/two.de.srt").write_text(SRT)
    (folder / "more/two.en.srt").write_text(SRT)
    (folder / "more/alone.srt").write_text(SRT)
    corpus = own.open_corpus(folder, "asr", valid_share=0.0, test_share=0.0)
    made = check_sharing(corpus, tmp_path)
    check_clean(made)
    rows = rows_of(made / "train.tsv")
    assert [row["tgt_text"] for row in rows] == [
        *("it was a dark and stormy night who are you nobody", "two speak at once long", "first", "second")
    ]
    talk, short = folder / "talk.wav", folder / "more/short.wav"
    assert rows[0]["audio"] == f"{talk}:{8000 * 8 // 10}:{round(8000 * 3.3)}" and rows[0]["id"] == "talk.wav#00001"
    assert rows[3]["audio"] == f"{short}:{round(8000 * 3.3)}:{round(8000 * 0.7)}"
    assert dropped(made) == {
        "talk.en.srt#8": "ends before it begins (13 to 12 s)",
        "talk.en.srt#9": "reaches beyond the end of the recording (69.00 of 62.00 s)",
        "more/other.wav": "lasts 40.00 s, expected 0.1 to 30: slam align cuts a recording by its transcript",
        "more/two.wav": "has 2 files of subtitles, expected one, or one of the --language",
        "more/alone.srt": "has no sound file",
    }
    prepare(own.open_corpus(folder, "asr", None, 0.0, 0.0, language="de"), tmp_path / "german")
    assert {row["id"].split("#")[0] for row in rows_of(tmp_path / "german/train.tsv")} >= {"more/two.wav"}
