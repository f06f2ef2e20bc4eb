"""``docs/interchange.md``: its commands, on a small folder of transformers."""

import shutil

import pytest

from tests.support import documents, training, w2v_bert_2
from tests.support.documents import ROOT, SHORT, SMALLER, commands, kind, read

PAGE = "docs/interchange.md"
DIM = 16

pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")


def test_the_commands_run_as_toys(toy, tmp_path, monkeypatch):
    """The sizes are the imported checkpoint's, so no flags make the trunk small."""
    (tmp_path / "slam_plugin").symlink_to(ROOT / "slam_plugin")
    data = shutil.copytree(toy, tmp_path / "data", ignore=shutil.ignore_patterns("*.arrow", "*.checked"))
    for split in ("train", "valid"):
        shutil.copy(toy / f"pairs/{split}.tsv", data / f"{split}.tsv")
    model = w2v_bert_2.make_model(0, num_hidden_layers=3, hidden_size=DIM, num_attention_heads=2)
    model.save_pretrained(tmp_path / "w2v-bert-2.0")
    lines = [" ".join(training.WORDS)] * 5
    w2v_bert_2.save_xlm_roberta(tmp_path / "xlm-roberta-large", lines, 24, DIM)
    small = {f"fairseq-train {name}": SHORT for name in ("slam_pretraining", "slam_speech_to_text")}
    monkeypatch.setattr(documents, "SMALLER", {**SMALLER, **small})
    found = list(commands(read(PAGE)))
    others = {"slam import", "slam export", "python -m benchmarks.exported"}
    assert {kind(command.words) for command in found} == others | small.keys()
    for command in found:
        documents.run(command, tmp_path)
