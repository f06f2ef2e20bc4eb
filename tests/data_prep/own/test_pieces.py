"""Long recordings without a text are cut at their pauses; what nobody speaks in is listed."""

import importlib.util

import numpy as np
import pytest
import soundfile

from data_prep.engine.command import prepare
from data_prep.own import command as own
from data_prep.own import pieces
from slam_plugin.data.errors import DataError
from slam_plugin.recordings import detector
from tests.data_prep.preparing import check_clean, dropped, rows_of
from tests.support.recordings import LOUD

RATE = 8000


@pytest.fixture(autouse=True)
def by_loudness(monkeypatch):
    """Take for speech what is loud, so that no package is needed."""

    def detect(blocks, _):
        samples = np.concatenate([block.numpy() for block in blocks])
        padded = np.pad(samples, (0, -len(samples) % detector.WINDOW)).reshape(-1, detector.WINDOW)
        return detector.SpeechActivity((np.abs(padded).max(axis=1) > LOUD).astype(np.float32), len(samples))

    monkeypatch.setattr(detector, "detect", detect)
    monkeypatch.setattr(pieces, "_detector", lambda: None)


def write(path, *spans, channels=1):
    """Write spans of (seconds, loudness)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    sound = np.concatenate([rng.uniform(-loudness, loudness, int(seconds * RATE)) for seconds, loudness in spans])
    soundfile.write(path, np.stack([sound] * channels, axis=1), RATE, subtype="FLOAT")


def test_long_recordings_become_pieces_at_pauses(tmp_path):
    folder = tmp_path / "mine"
    write(folder / "short.wav", (3, 0.5))
    write(folder / "silent.wav", (32, 0.0))
    write(folder / "long.wav", (5, 0.0), (20, 0.5), (1, 0.0), (5, 0.5), (1, 0.0), (20, 0.5), (4, 0.0), (2, 0.5))
    prepare(own.open_corpus(folder, "speech", valid_share=0.0), tmp_path / "out")
    check_clean(tmp_path / "out")
    rows = {row["id"]: row for row in rows_of(tmp_path / "out/train.tsv")}
    parts = [tuple(map(int, row["audio"].split(":")[1:])) for name, row in rows.items() if name.startswith("long")]
    assert len(parts) == 3 and "short.wav" in rows
    for (begin, samples), expected in zip(parts, [(4.8, 31.2), (31.8, 52.2), (55.8, 58.0)], strict=True):
        assert [begin / RATE, (begin + samples) / RATE] == pytest.approx(expected, abs=0.04)
        assert samples <= 30 * RATE
    left_out = dropped(tmp_path / "out")
    assert left_out.pop("silent.wav") == "lasts 32.00 s and holds no speech"
    assert [reason for reason in left_out.values()] == [
        f"holds no speech ({seconds} s)" for seconds in (parts_gap(0, parts[0]), parts_gap(sum(parts[1]), parts[2]))
    ]


def parts_gap(end, part):
    return f"{(part[0] - end) / RATE:.2f}"


def test_rows_of_tables_that_are_parts_of_files_are_cut_within_them(tmp_path):
    folder = tmp_path / "mine"
    write(folder / "talk.wav", (10, 0.5), (3, 0.0), (25, 0.5), (3, 0.0), (10, 0.5), channels=2)
    (folder / "rows.csv").write_text(f"audio,speaker\ntalk.wav:{13 * RATE}:{38 * RATE},me\n")
    prepare(own.open_corpus(folder / "rows.csv", "speech", valid_share=0.0), tmp_path / "out")
    check_clean(tmp_path / "out")
    rows = rows_of(tmp_path / "out/train.tsv")
    begins = [int(row["audio"].split(":")[1]) / RATE for row in rows]
    assert begins == pytest.approx([13.0, 40.8], abs=0.04) and {row["speaker"] for row in rows} == {"me"}


def test_a_limit_below_a_second_cuts_nothing(tmp_path):
    write(tmp_path / "mine/a.wav", (3, 0.5))
    write(tmp_path / "mine/b.wav", (0.5, 0.5))
    prepare(own.open_corpus(tmp_path / "mine", "speech", None, 0.0, max_seconds=0.7), tmp_path / "out")
    assert dropped(tmp_path / "out") == {"a.wav": "lasts 3.00 s, expected 0.1 to 0.7"}


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.undo()
    pieces._detector.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    write(tmp_path / "mine/a.wav", (31, 0.5))
    needs = r"needs silero-vad, onnxruntime: pip install .* \(the extra \[recordings\]\)"
    with pytest.raises(DataError, match=needs):
        prepare(own.open_corpus(tmp_path / "mine", "speech", None, 0.0), tmp_path / "out")
