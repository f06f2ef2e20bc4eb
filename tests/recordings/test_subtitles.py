"""Subtitles as pysubs2 and the rules of subtitling read them."""

import pytest

from slam_plugin.data.errors import DataError
from slam_plugin.recordings.subtitles import MAX_CHARACTERS, MAX_LINES, MAX_SECONDS, cues, subtitles
from slam_plugin.recordings.transcript import Segment, Transcript, Word

pysubs2 = pytest.importorskip("pysubs2")


def talk(words=60, step=0.4):
    """A segment of words of 1 to 12 letters, with a long pause after the tenth."""
    timed, place = [], 1.0
    for number in range(words):
        place += 2.5 if number == 10 else 0.1
        timed.append(Word("x" * (1 + 5 * number % 12), place, place + step, 0.5))
        place += step
    text = " ".join(word.text for word in timed)
    return Segment(timed[0].start, timed[-1].end, text, -1.0, 0.5, tuple(timed))


def transcript(*segments, duration=100.0):
    return Transcript(duration, segments, -1.0, len(segments))


def test_lines_are_short_at_word_bounds_and_in_order():
    segment = talk()
    found = cues(transcript(segment))
    assert " ".join(line for cue in found for line in cue.lines) == segment.text
    starts = {word.start for word in segment.words}
    for cue in found:
        assert 1 <= len(cue.lines) <= MAX_LINES and all(len(line) <= MAX_CHARACTERS for line in cue.lines)
        assert cue.start in starts and 0 < cue.end - cue.start <= MAX_SECONDS
    assert all(cue.end <= following.start for cue, following in zip(found, found[1:], strict=False))
    # The pause ends a subtitle.
    assert segment.words[10].start in {cue.start for cue in found}


def test_a_short_word_stays_for_a_second_unless_another_follows():
    words = (Word("a", 1.0, 1.04, 1.0), Word("b", 3.0, 3.04, 1.0), Word("c", 5.0, 5.04, 1.0))
    segments = [Segment(word.start, word.end, word.text, 0.0, 1.0, (word,)) for word in words]
    found = cues(transcript(*segments, duration=5.5))
    assert [(cue.start, cue.end) for cue in found] == [(1.0, 2.0), (3.0, 4.0), (5.0, 5.5)]


def test_words_without_times_share_the_segments_time_by_length():
    text = "aaaa bb " * 40
    found = cues(transcript(Segment(10.0, 34.0, text.strip(), 0.0, 1.0)))
    assert " ".join(line for cue in found for line in cue.lines) == text.strip()
    assert (found[0].start, found[-1].end) == (10.0, pytest.approx(34.0))
    done = 0
    for cue in found:
        assert cue.start == pytest.approx(10.0 + 24.0 * done / 240)
        done += sum(len(line.replace(" ", "")) for line in cue.lines)


def test_a_script_without_blanks_is_cut_by_length():
    found = cues(transcript(Segment(0.0, 20.0, "字" * 200, 0.0, 1.0)))
    assert "".join(line for cue in found for line in cue.lines) == "字" * 200
    assert all(len(cue.lines) <= 2 and cue.end - cue.start <= MAX_SECONDS for cue in found)


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_files_are_read_back(name):
    whole = transcript(talk(), Segment(60.0, 62.0, "a {b} <c> & d --> e", 0.0, 1.0))
    written = subtitles(whole, name)
    read, expected = pysubs2.SSAFile.from_string(written, format_=name), cues(whole)
    assert [(event.start, event.end) for event in read] == [
        (round(1000 * cue.start), round(1000 * cue.end)) for cue in expected
    ]
    assert [event.text.replace("\\N", " ") for event in list(read)[:-1]] == [" ".join(c.lines) for c in expected[:-1]]
    last = "a {b} &lt;c&gt; &amp; d --&gt; e" if name == "vtt" else "a {b} <c> & d --> e"
    assert written.rstrip().endswith(last)
    assert written.startswith("WEBVTT") == (name == "vtt")


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_no_speech_is_a_file_without_subtitles(name):
    empty = subtitles(transcript(), name)
    assert len(pysubs2.SSAFile.from_string(empty, format_=name)) == 0 if empty.strip() else name == "srt"


def test_an_absent_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pysubs2", None)
    with pytest.raises(
        DataError, match=r"--format srt needs pysubs2: pip install 'pysubs2>=1.8' \(the extra \[recordings\]\)"
    ):
        subtitles(transcript(), "srt")


def test_the_record_holds_all_times():
    segment = Segment(1.0, 2.00049, "a b", -1.0, 0.75, (Word("a", 1.0, 1.5, 0.5), Word("b", 1.6, 2.00049, 1.0)))
    assert transcript(segment, duration=3.0).record() == {
        "duration": 3.0,
        "text": "a b",
        "segments": [
            {
                "start": 1.0,
                "end": 2.0,
                "text": "a b",
                "confidence": 0.75,
                "words": [
                    {"word": "a", "start": 1.0, "end": 1.5, "confidence": 0.5},
                    {"word": "b", "start": 1.6, "end": 2.0, "confidence": 1.0},
                ],
            }
        ],
    }
