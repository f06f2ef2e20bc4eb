"""Fine-tuning on two ranks: a frozen trunk waits on both, and the log counts what both saw."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from fairseq import utils

from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE
from tests.support import training

BATCH = 3  # utterances of a rank and update
FLAGS = {
    "task": "slam_speech_to_text",
    "arch": "slam_speech_to_text",
    "criterion": "label_smoothed_cross_entropy",
    "label_smoothing": 0.1,
    "decoder_dim": 32,
    "decoder_heads": 2,
    "decoder_ffn_dim": 64,
    "decoder_layers": 1,
    "optimizer": "slam_adamw",
    "adam_betas": None,
    "encoder_lr_scale": 0.5,
    "pretrained": Path(__file__).parents[1] / "fixtures/checkpoints_209b7f0/pretraining.pt",
    "freeze_encoder_updates": 1,
    "state_mask_rate": 0.5,
    "weight_decay": 0.5,
    **dict.fromkeys(("steps_per_epoch", *training.MODEL)),  # the checkpoint has the sizes
    "update_freq": 1,
    "batch_size": BATCH,
    "max_update": 2,
    "save_interval_updates": 1,
    "eval_wer": True,
    "eval_args": json.dumps({"max_len_b": 8}),
}


@pytest.fixture
def data(toy: Path, tmp_path: Path) -> Path:
    """The pairs of the toy corpus, 12 to train on and 6 to validate on, as a folder of their own."""
    folder = tmp_path / "data"
    folder.mkdir()
    for source in ("pairs/train.tsv", "pairs/valid.tsv", DICTIONARY_FILE, MODEL_FILE):
        shutil.copy(toy / source, folder)
    return folder


def test_two_ranks_fine_tune_under_a_trunk_that_is_frozen_at_first(toy, data, tmp_path):
    flags = {**FLAGS, "audio_root": toy}
    run = training.train(data, tmp_path / "save", 2, **flags)
    assert run.code == 0, run.output[-3000:]
    assert run.output.count("fused paths: ") == 1

    task = training.make_task(data, **flags)
    utils.set_torch_seed(task.cfg.seed)
    first = task.build_model(training.configuration(data, **flags).model).state_dict()
    frozen, last = (run.checkpoint(name)["model"] for name in ("checkpoint_1_1.pt", "checkpoint_last.pt"))
    assert first.keys() == frozen.keys() == last.keys()
    trunk = {name for name in first if name.startswith("encoder.")}
    assert "encoder.speech_mask" in trunk
    assert trunk and not moved(first, frozen) & trunk and moved(first, frozen)
    assert "encoder.speech_mask" in moved(frozen, last) & trunk

    updates = run.logged("train_inner")
    assert [update["num_updates"] for update in updates] == [1, 2]
    assert [update["bsz"] for update in updates] == [2 * BATCH, 2 * BATCH]
    manifest = Manifest.open(data / "train.tsv")
    lengths = [len(task.vocabulary.encode(manifest.value(i, "tgt_text"))) + 1 for i in range(len(manifest))]
    assert sum(update["wpb"] for update in updates) == sum(lengths)
    validations = run.logged("valid")
    assert len(validations) == 2
    assert all(scores["bsz"] == 2 * BATCH and scores["wer"] > 0 and scores["loss"] > 0 for scores in validations)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}
