"""Two rates and two warm-ups under fairseq-train: resumed, and on two ranks."""

import shutil
from pathlib import Path

import pytest
import torch

from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE
from tests.support import training

ENCODER_WARMUP, WARMUP, LR, SCALE = 6, 2, 0.002, 0.25
FLAGS = {
    "task": "slam_speech_to_text",
    "arch": "slam_speech_to_text_tiny",
    "criterion": "slam_label_smoothed_cross_entropy_with_ctc",
    "ctc_head": True,
    "decoder_dim": 32,
    "decoder_heads": 2,
    "decoder_ffn_dim": 64,
    "decoder_layers": 1,
    "autocast": "none",
    "optimizer": "slam_adamw",
    "lr": LR,
    "lr_scheduler": "slam_inverse_sqrt",
    "warmup_updates": WARMUP,
    "warmup_init_lr": None,
    "encoder_lr_scale": SCALE,
    "encoder_warmup_updates": ENCODER_WARMUP,
    "state_mask_rate": 0.5,
    "state_mask_span": 3,
    "channel_mask_rate": 0.3,
    "channel_mask_span": 4,
    "speeds": "0.9,1.1",
    "noise_snr": "10,30",
    "steps_per_epoch": None,
    "update_freq": 1,
    "batch_size": 3,
    "max_update": 4,
    "disable_validation": True,
}


@pytest.fixture(scope="module")
def flags(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return the flags above, with the 12 training pairs of the toy corpus as ``data``: each text translates itself."""
    folder = tmp_path_factory.mktemp("pairs")
    for source in (DICTIONARY_FILE, MODEL_FILE):
        shutil.copy(toy / source, folder)
    lines = [line.split("\t") for line in (toy / "pairs/train.tsv").read_text().splitlines()]
    lines = [[*lines[0], "src_text"], *([*row, row[lines[0].index("tgt_text")]] for row in lines[1:])]
    (folder / "train.tsv").write_text("".join("\t".join(row) + "\n" for row in lines))
    return {**FLAGS, "data": folder, "audio_root": toy}


def train(folder: Path, ranks: int = 1, **flags) -> training.Run:
    run = training.train(folder=folder, ranks=ranks, **flags)
    assert run.code == 0, run.output[-3000:]
    return run


@pytest.mark.parametrize("optimizer", ["slam_adamw", "slam_muon"])
def test_a_resumed_run_is_the_one_that_was_not_stopped(flags, tmp_path, optimizer):
    flags = {**flags, "optimizer": optimizer}
    whole = train(tmp_path / "whole", **flags)
    train(tmp_path / "parts", **{**flags, "max_update": 2})
    resumed = train(tmp_path / "parts", **flags)
    assert [log["num_updates"] for log in resumed.logged("train_inner")] == [1, 2, 3, 4]  # both parts, in one file
    one, other = whole.checkpoint(), resumed.checkpoint()
    assert training.differing(one["model"], other["model"]) == []
    assert training.differing(one["last_optimizer_state"], other["last_optimizer_state"]) == []

    # A log holds the rates of the update to come.
    for log in whole.logged("train_inner"):
        update = log["num_updates"] + 1
        assert log["lr"] == pytest.approx(LR * (WARMUP / update) ** 0.5, rel=1e-3)
        assert log["lr_encoder"] == pytest.approx(SCALE * LR * update / ENCODER_WARMUP, rel=1e-3)
    groups = one["last_optimizer_state"]["param_groups"]
    times = 2 if optimizer == "slam_muon" else 1  # matrices, and others
    assert [(g["name"], g["lr_scale"], g["warmup_updates"]) for g in groups] == [
        *[("encoder", SCALE, ENCODER_WARMUP)] * times,
        *[("default", 1.0, None)] * times,
    ]


@pytest.mark.parametrize("optimizer", ["slam_adamw", "slam_muon"])
def test_two_ranks_move_as_one(flags, tmp_path, optimizer):
    """One rank that gathers two batches sees in an update what two ranks see."""
    flags = {**flags, "optimizer": optimizer, "dropout": 0.0, "decoder_dropout": 0.0, "max_update": 3}
    one = train(tmp_path / "one", **{**flags, "update_freq": 2}).checkpoint()["model"]
    two = train(tmp_path / "two", ranks=2, **flags).checkpoint()["model"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adam"}, "found --optimizer adam, expected slam_adamw or slam_muon"),
        ({"lr_scheduler": "inverse_sqrt"}, "found --lr-scheduler inverse_sqrt, expected slam_inverse_sqrt"),
        ({"encoder_warmup_updates": 0}, "--encoder-warmup-updates: found 0, expected 1 or more"),
    ],
)
def test_a_rate_that_would_be_passed_over_is_refused_before_data_is_read(flags, tmp_path, change, message):
    (flags["data"] / "train.tsv").rename(tmp_path / "train.tsv")
    try:
        run = training.train(folder=tmp_path / "save", **{**flags, **change})
    finally:
        (tmp_path / "train.tsv").rename(flags["data"] / "train.tsv")
    assert run.code != 0
    assert message in run.output
