"""The mixtures of speech and text, and the records of their trainings."""

import json

import pytest

from examples.slam.study import capacity
from examples.slam.study.records import read
from slam_plugin.data.plan.yaml_layers import read_layered


def values(name: str) -> dict:
    return read_layered(capacity.CORPORA[name]).values


@pytest.mark.parametrize("text", ["text", "text 4"])
def test_an_update_on_both_holds_what_each_alone_holds(text):
    speech, alone, both = (values(name) for name in ("speech", text, f"speech, {text}"))
    assert both == {part: {**speech[part], **alone[part]} for part in ("corpora", "objectives")}
    times = 4 if text == "text 4" else 1
    assert alone["corpora"]["text"]["budget"] == times * values("text")["corpora"]["text"]["budget"]


def test_trainings_differ_in_size_data_and_seed_alone_and_records_name_them(tmp_path, monkeypatch):
    steps = []

    def run(plan, logs):
        steps.extend(plan)
        logs.mkdir(parents=True)
        (logs / "steps.json").write_text(json.dumps({plan[0].name: {"cpu_seconds": 7.0}}))
        lines = [{"train_num_updates": "4", "train_frames": "2.0", "train_tokens": "3.0"}]
        lines.append({"valid_num_updates": "4", "valid_span_mlm_loss": "2.5", "valid_agreement_speech_text": "-0.25"})
        log = [f"2026-01-01 00:00:00 | INFO | {[*line][0].split('_')[0]} | {json.dumps(line)}\n" for line in lines]
        (logs / f"{plan[0].name}.log").write_text("".join(log))

    monkeypatch.setattr(capacity, "run_steps", run)
    (tmp_path / "kmeans.npz").touch()
    flags = ["--run", str(tmp_path / "run"), "--data", str(tmp_path), "--results", str(tmp_path / "results.json")]
    assert capacity.main([*flags, "--updates", "4", "--on", "text", "speech, text", "--seeds", "1", "2"]) == 0
    names = [step.name for step in steps]
    assert names[:4] == ["tiny-text-seed1", "tiny-speech-text-seed1", "small-text-seed1", "small-speech-text-seed1"]
    assert len({*names}) == len(names) == 8
    found = read(tmp_path / "results.json")["capacity"]
    assert {(record["size"], record["data"], record["seed"]) for record in found} == {
        (size, data, seed) for size in ("tiny", "small") for data in ("text", "speech, text") for seed in (1, 2)
    }
    assert found[0]["tokens"] == 12 and found[0]["cpu_seconds"] == 7.0
    assert found[0]["curves"] == {"span_mlm_loss": [[4, 2.5]], "agreement_speech_text": [[4, -0.25]]}


def test_a_folder_without_clusters_is_refused(tmp_path, capsys):
    assert capacity.main(["--data", str(tmp_path)]) == 1
    assert "found no kmeans.npz" in capsys.readouterr().err
