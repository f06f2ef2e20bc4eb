"""The comparison of exported graphs: what it decodes and counts. The exports have tests of their own."""

import numpy as np
import pytest

from benchmarks import exported
from benchmarks.exported import Candidate
from slam_plugin.data.audio import count_frames
from slam_plugin.data.manifests.manifest import write_manifest
from slam_plugin.hub import Slam
from tests.support import checkpoints


@pytest.fixture
def given(tmp_path):
    """A recognizer, and a manifest whose references are what it recognizes."""
    saved = checkpoints.save(tmp_path / "run", *checkpoints.CTC)
    slam = Slam.load(saved.path, device="cpu")
    rows = [
        {"id": path, "audio": path, "n_frames": count_frames(path, ""), "tgt_text": slam.transcribe(path)}
        for path in checkpoints.write_sounds(tmp_path)
    ]
    assert all(row["tgt_text"] for row in rows)
    write_manifest(tmp_path / "test.tsv", rows, list(rows[0]))
    return saved.path, tmp_path / "test.tsv"


def test_a_perfect_candidate_and_one_that_writes_nothing(given, monkeypatch, capsys):
    def both(checkpoint, folder):
        model = exported._model(checkpoint)

        def blanks(waveform):
            logits = np.zeros_like(model(waveform))
            logits[:, checkpoint.model.blank] = 1
            return logits

        return [Candidate("model", model, None), Candidate("blanks", blanks, 1_500_000)]

    monkeypatch.setattr(exported, "candidates", both)
    path, manifest = given
    found = exported.main(["--checkpoint", str(path), "--manifests", str(manifest), "--limit", "4"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines()[2:]]
    assert rows[0][:5] == ["model", "", "0.00", "0.00", "0"]
    assert rows[1][:5] == ["blanks", "1.5", "100.00", "100.00", "4"]
    assert "4 utterances" in capsys.readouterr().out
