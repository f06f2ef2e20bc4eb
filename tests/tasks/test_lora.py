"""Fine-tuning with low-rank adapters under fairseq-train: what is saved, resumed, averaged and decoded."""

import re
import shutil

import fairseq.tasks
import pytest
import torch

from slam_plugin.commands.average import average
from slam_plugin.data.errors import DataError
from slam_plugin.data.text.vocabulary import DICTIONARY_FILE, MODEL_FILE
from slam_plugin.hub import Slam
from slam_plugin.modules.lora import is_adapter, merged_state
from tests.support import commands, training

RANK = 4
FLAGS = {
    **dict.fromkeys(("steps_per_epoch", "batch_size", "warmup_init_lr")),
    **{"task": "slam_speech_to_text", "arch": "slam_ctc_tiny", "criterion": "slam_ctc", "lora_rank": RANK},
    **{"optimizer": "slam_adamw", "lr_scheduler": "fixed", "warmup_updates": 0, "lr": 0.02, "encoder_lr_scale": 0.5},
    **{"max_tokens": 400, "update_freq": 1, "save_interval_updates": 1, "disable_validation": True, "max_update": 4},
}


@pytest.fixture(scope="module")
def data(toy, tmp_path_factory):
    """Return a folder with the training and validation pairs of the toy corpus."""
    folder = tmp_path_factory.mktemp("data")
    for source in ("pairs/train.tsv", "pairs/valid.tsv", DICTIONARY_FILE, MODEL_FILE):
        shutil.copy(toy / source, folder)
    return folder


@pytest.fixture(scope="module")
def run(data, toy, reference, tmp_path_factory):
    """Return a run whose source checkpoint is gone, with a checkpoint after each update."""
    source = tmp_path_factory.mktemp("source") / "pretrained.pt"
    shutil.copy(reference.folder / "checkpoint_last.pt", source)
    found = train(data, tmp_path_factory.mktemp("run"), **FLAGS, audio_root=toy, pretrained=source)
    source.unlink()
    return found


def train(data, folder, **flags):
    run = training.train(data, folder, **flags)
    assert run.code == 0, run.output[-3000:]
    return run


def after(run, update):
    """Return the checkpoint that was written after an update, in whatever epoch."""
    paths = {
        torch.load(path, weights_only=True)["optimizer_history"][-1]["num_updates"]: path
        for path in run.folder.glob("checkpoint*[0-9].pt")
    }
    return paths[update]


def test_only_adapters_and_the_head_are_trained(run, reference):
    found, source = run.checkpoint(), reference.checkpoint()["model"]
    for name, value in found["model"].items():
        base = name.removeprefix("encoder.")
        if base in source:
            assert torch.equal(value, source[base]), name
        elif is_adapter(name):
            assert value.abs().sum() > 0, name
    adapters = sum(map(is_adapter, found["model"]))
    assert adapters == 2 * 8 * 2  # two layers of eight maps, two matrices each
    groups = {group["name"]: len(group["params"]) for group in found["last_optimizer_state"]["param_groups"]}
    assert groups == {"encoder": adapters, "default": 2}
    assert len(found["last_optimizer_state"]["state"]) == adapters + 2


def test_a_resumed_run_is_the_one_that_was_not_stopped(data, toy, run, tmp_path):
    """It does not read the source checkpoint again."""
    shutil.copy(after(run, 2), tmp_path / "checkpoint_last.pt")
    resumed = train(data, tmp_path, **FLAGS, audio_root=toy, pretrained=tmp_path / "gone.pt")
    one, other = run.checkpoint(), resumed.checkpoint()
    for part in ("model", "last_optimizer_state"):
        assert training.differing(one[part], other[part]) == []


def test_the_file_alone_decodes_merged_and_not_merged(toy, run, tmp_path):
    state = torch.load(run.folder / "checkpoint_last.pt", weights_only=False)
    state["model"]["output.bias"][0] = -100.0  # of the blank: four updates have taught nothing else
    state["cfg"]["model"]["autocast"] = "none"  # bf16 rounds the two ways of computing differently
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save(state, checkpoint)
    (tmp_path / "data").mkdir()
    shutil.copy(toy / "pairs/valid.tsv", tmp_path / "data")
    flags = ["--task", "slam_speech_to_text", "--gen-subset", "valid", "--path", checkpoint, "--audio-root", toy]
    flags += ["--cpu", "--beam", 1, "--max-tokens", 1000]
    output = commands.fairseq("generate", tmp_path / "log", tmp_path / "data", *flags)
    texts = dict(re.findall(r"^D-(\d+)\t[^\t]*\t(.*)$", output, re.MULTILINE))
    slam = Slam.load(checkpoint)
    assert not any(map(is_adapter, slam.model.state_dict()))
    rows = [line.split("\t") for line in (toy / "pairs/valid.tsv").read_text().splitlines()]
    sounds = [str(toy / row[rows[0].index("audio")]) for row in rows[1:]]
    assert slam.transcribe(sounds) == [texts[str(i)] for i in range(len(sounds))]
    assert len(set(texts.values())) > 1


def test_the_average_is_the_mean_of_merged_weights_and_has_no_adapters(run, tmp_path):
    inputs = [after(run, update) for update in (2, 3, 4)]
    average(inputs, tmp_path / "mean.pt")
    state = torch.load(tmp_path / "mean.pt", weights_only=False)
    assert state["cfg"]["model"]["lora_rank"] == 0
    merged = [merged_state(torch.load(path, weights_only=False)["model"]) for path in inputs]
    assert state["model"].keys() == merged[0].keys()
    for name, value in state["model"].items():
        torch.testing.assert_close(value, torch.stack([weights[name] for weights in merged]).mean(0))
    changed = "encoder.trunk.multimodal_layers.0.attention.qkv.weight"
    assert not torch.equal(state["model"][changed], merged[-1][changed])
    assert "transcribe" in Slam.load(tmp_path / "mean.pt").abilities


# ---- refusals


def build(data, **flags):
    whole = training.configuration(data, **{**FLAGS, **flags})
    return fairseq.tasks.setup_task(whole.task).build_model(whole.model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pretrained": None}, "--lora-rank 4: found without --pretrained"),
        ({"lora_rank": -1}, "--lora-rank: found -1 with an encoder of dimension 32, expected 0, or 1 to 15"),
        ({"lora_rank": 16}, "--lora-rank: found 16 with an encoder of dimension 32, expected 0, or 1 to 15"),
        ({"freeze_encoder_updates": 4}, "--freeze-encoder-updates 4: found with --lora-rank 4 and --max-update 4"),
    ],
)
def test_adapters_that_would_not_learn_are_refused(data, reference, change, message):
    with pytest.raises(ValueError, match=message):
        build(data, **{"pretrained": reference.folder / "checkpoint_last.pt", **change})


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_does_not_resume_with_another_rank(data, run, rank):
    with pytest.raises(DataError, match=f"--lora-rank: found {rank}, expected {RANK}, as in the checkpoint"):
        build(data, lora_rank=rank, save_dir=run.folder)
