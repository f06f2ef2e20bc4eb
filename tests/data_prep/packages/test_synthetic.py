import numpy as np
import pytest

from data_prep.engine.command import prepare
from data_prep.packages import espeak, synthetic
from data_prep.packages.espeak import Request
from data_prep.packages.synthetic import VOICES, Synthetic, draw_sentences, read_sentences, request_of
from slam_plugin.data.errors import DataError
from tests.data_prep.layouts.games import sentence
from tests.data_prep.preparing import check_clean, check_sharing, rows_of, run_command


def tones(requests):
    """Instead of speech, 80 ms per letter."""
    return [np.full(espeak.RATE * 80 // 1000 * len(request.text), request.pitch, np.int16) for request in requests]


def test_drawn_sentences(tmp_path):
    sentences = list(dict.fromkeys(sentence(number) for number in range(300)))
    (tmp_path / "text").write_text("\n\n".join(["no", *sentences, sentences[0], "a " * 100]) + "\n")
    few, more = (draw_sentences(read_sentences(tmp_path / "text"), count, "text") for count in (20, 50))
    assert len(few) == 20 and len(more) == 50 and set(few) < set(more) < set(sentences)
    assert list(more) == [each for each in sentences if each in more]
    with pytest.raises(DataError, match="short: holds no sentence of 2 words"):
        draw_sentences(["one"], 5, "short")
    (tmp_path / "latin").write_bytes(b"good\ncaf\xe9\n")
    with pytest.raises(DataError, match="latin:2"):
        read_sentences(tmp_path / "latin")


def test_voices_differ_and_depend_on_the_sentence():
    requests = [request_of(sentence(number)) for number in range(500)]
    assert {request.voice for request in requests} == set(VOICES)
    assert len({request.rate for request in requests}) > 80 and len({request.pitch for request in requests}) > 38
    assert request_of(sentence(3)) == requests[3]


def test_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(espeak, "speak", tones)
    monkeypatch.setattr(synthetic, "_UNIT_SENTENCES", 50)
    sentences = [sentence(number) for number in range(200)]
    (tmp_path / "text").write_text("".join(f"{each}\n" for each in sentences))
    arguments = ["--text", tmp_path / "text", "--out", tmp_path / "out", "--sentences", "150"]
    assert run_command(synthetic.main, *arguments) == 0
    check_clean(tmp_path / "out", 40)
    rows = [row for split in ("train", "valid") for row in rows_of(tmp_path / f"out/{split}.tsv")]
    assert len(rows) == 150 and all(row["speaker"] == request_of(row["tgt_text"]).voice for row in rows)
    assert all(abs(row["n_frames"] - 8 * len(row["tgt_text"])) < 4 for row in rows)


def test_few_sentences_may_all_be_for_training(tmp_path, monkeypatch):
    monkeypatch.setattr(espeak, "speak", tones)
    sentences = tuple(sentence(number) for number in range(3))
    prepare(Synthetic(sentences, tmp_path, VOICES[:2], validates=False), tmp_path, jobs=1)
    rows = rows_of(tmp_path / "train.tsv")
    assert {row["tgt_text"] for row in rows} == set(sentences) and {row["speaker"] for row in rows} <= set(VOICES[:2])
    assert not (tmp_path / "valid.tsv").exists()


def test_speech_of_the_library(tmp_path):
    """The result does not depend on how the work is shared, although a repeated sentence differs in one process."""
    pytest.importorskip("espeakng_loader")
    requests = [Request("we are here", "en-us+f1", 170, 50), Request("we are here now and then", "en-us+m1", 130, 40)]
    first, second = espeak.speak(requests), espeak.speak(requests)
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    assert 0.4 < len(first[0]) / espeak.RATE < 2 < len(first[1]) / len(first[0]) * 1.5
    assert all(np.abs(samples).max() > 2000 for samples in first)
    slow, fast = (len(espeak.speak([requests[0]._replace(rate=rate)])[0]) for rate in (130, 220))
    assert slow > 1.3 * fast
    with pytest.raises(DataError, match="has no voice 'xx-none'"):
        espeak.speak([requests[0]._replace(voice="xx-none")])
    sentences = tuple(sentence(number) for number in range(120))
    check_sharing(Synthetic(sentences, tmp_path / "sound"), tmp_path)


def test_without_the_library(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\n\nsys.modules['espeakng_loader'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    needs = r"speech synthesis needs espeakng-loader: pip install espeakng-loader \(the extra \[synthetic\]\)"
    with pytest.raises(DataError, match=needs):
        espeak.speak([Request("a", "en-us", 170, 50)])
