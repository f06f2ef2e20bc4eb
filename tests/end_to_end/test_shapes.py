"""The whole way of other shapes than the paper's: pre-training by every objective, fine-tuning, decoding."""

import copy
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from slam_plugin.commands import cli
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.hub import Slam
from slam_plugin.models.base.presets import CHOICES
from slam_plugin.modules.front_end import FrontEnd
from tests.support import training
from tests.support.commands import fairseq

SIZES = dict.fromkeys(name.replace("-", "_") for name in training.MODEL)  # left out: the preset has them
W2V_BERT_2 = "w2v_bert_2_tiny"
# name: its front end, the flags of pre-training, and the options that a checkpoint then holds
SHAPES = {
    "w2v-BERT 2.0": (FrontEnd("stacked", 2), {"arch": f"slam_pretraining_{W2V_BERT_2}", **SIZES}, CHOICES[W2V_BERT_2]),
    "two frames a state": (FrontEnd("conv", 2), {"frames_per_state": 2}, CHOICES["tiny"]),
}
OBJECTIVES = {
    "contrastive": training.CORPORA["objectives"]["contrastive"],
    "masked_prediction": {},
    "best_rq": {"codes": 32, "mask_span": 3},
    "kmeans": {"centroids": "kmeans.npz", "mask_span": 3},
    "span_mlm": {},
    "tlm": {"speech_mask_span": 3},
    "stm": {"inputs": "clean", "partners": "both"},
    "ctc": {"inputs": "augmented", "layer": "top", "tied": True},
    "text_ctc": {"length": 12, "mask_span": 3},
}
DECODERS = {
    "ctc": ["--arch", "slam_ctc", "--criterion", "slam_ctc", "--state-mask-rate", "0.3", "--state-mask-span", "3"],
    "speech_to_text": ["--arch", "slam_speech_to_text", "--criterion", "label_smoothed_cross_entropy"],
    "transducer": ["--arch", "slam_transducer", "--criterion", "slam_transducer"],
}
FINE_TUNING = ["--task", "slam_speech_to_text", "--optimizer", "slam_adamw", "--lr", "0.001", "--lr-scheduler"]
FINE_TUNING += ["slam_inverse_sqrt", "--warmup-updates", "2", "--max-tokens", "1500", "--speeds", "0.9,1.0,1.1"]
FINE_TUNING += ["--max-update", "2", "--no-epoch-checkpoints", "--num-workers", "0", "--cpu"]


def cluster(*arguments):
    return cli.main(["cluster", *map(str, arguments)])


class Shape(NamedTuple):
    """A pre-trained shape: data folder, checkpoint, front end, and options of the checkpoint."""

    data: Path
    checkpoint: Path
    front_end: FrontEnd
    options: dict
    run: training.Run


@pytest.fixture(scope="module", params=SHAPES)
def shape(request, toy, tmp_path_factory):
    """Pre-train a few updates on speech, text and pairs, with a folder of recognition in the same place."""
    front_end, flags, options = SHAPES[request.param]
    data = tmp_path_factory.mktemp("shape") / "data"
    shutil.copytree(toy, data, ignore=shutil.ignore_patterns("*.checked", "*.arrow"))
    for split in ("train", "valid"):
        shutil.copy(toy / f"pairs/{split}.tsv", data / f"{split}.tsv")
    centroids = ["--clusters", 8, "--audio-root", toy, "--frames-per-state", front_end.frames_per_state]
    assert cluster(data / "speech/a.tsv", "--out", data / "kmeans.npz", *centroids) == 0
    corpora = {**copy.deepcopy(training.CORPORA), "stages": {0: ["speech", "text", "pairs"]}, "objectives": OBJECTIVES}
    (data / "corpora.yaml").write_text(yaml.safe_dump(corpora, sort_keys=False))
    run = training.train(data, data.parent / "pretraining", **flags, max_update=2, update_freq=1)
    assert run.code == 0, run.output[-3000:]
    return Shape(data, run.folder / "checkpoint_last.pt", front_end, options, run)


def test_every_objective_trains_and_validates(shape):
    valid = shape.run.logged("valid")[-1]
    for objective in OBJECTIVES:
        losses = [key for key in valid if key.startswith(objective) and key.endswith("_loss")]
        assert losses and all(0.0 < valid[key] < 100.0 for key in losses), (objective, valid)
    assert "rank_front_end" in valid  # of an instrument


def test_states_are_counted_by_the_front_end(shape, tmp_path):
    slam, manifest = Slam.load(shape.checkpoint), Manifest.open(shape.data / "valid.tsv")
    assert slam.trunk.front_end == shape.front_end
    paths = [shape.data / manifest.value(row, "audio") for row in range(3)]
    states = slam.encode(speech=paths)
    expected = [shape.front_end.states_of(int(frames)) for frames in manifest.column("n_frames")[:3]]
    assert [len(each) for each in states] == expected
    assert torch.allclose(slam.encode(speech=paths[0]), states[0], atol=1e-5)
    shown = slam.attention(speech=paths[0], text="baka demen")
    assert shown.weights.size(-1) == expected[0] and shown.seconds == pytest.approx(0.02 * expected[0])


@pytest.mark.parametrize("kind", DECODERS)
def test_fine_tuning_takes_the_trunk_as_it_is_and_decodes(shape, tmp_path, kind):
    flags = [*DECODERS[kind], *FINE_TUNING, "--save-dir", tmp_path / "run", "--pretrained", shape.checkpoint]
    output = fairseq("train", tmp_path / "train.log", shape.data, *flags)
    assert re.search(r"took \d+ tensors", output)
    path = tmp_path / "run/checkpoint_last.pt"
    config = torch.load(path, weights_only=False)["cfg"]["model"]
    assert {name: config[name] for name in shape.options} == shape.options
    assert (config["front_end"], config["frames_per_state"]) == (shape.front_end.kind, 2)
    arguments = ["--task", "slam_speech_to_text", "--path", path, "--gen-subset", "valid", "--max-tokens", "1500"]
    arguments += ["--beam", "2", "--max-len-b", "5", "--scoring", "wer", "--cpu"]
    output = fairseq("generate", tmp_path / "generate.log", shape.data, *arguments)
    assert len(re.findall(r"^D-\d+\t", output, re.M)) == 6 and "WER" in output
    sound = shape.data / Manifest.open(shape.data / "valid.tsv").value(0, "audio")
    assert isinstance(Slam.load(path).transcribe(sound), str)


def test_clusters_of_states_of_another_length_are_refused(shape, toy, tmp_path):
    centroids = ["--clusters", 4, "--audio-root", toy]
    assert cluster(shape.data / "speech/a.tsv", "--out", tmp_path / "kmeans.npz", *centroids) == 0
    _, flags, _ = next(found for found in SHAPES.values() if found[0] == shape.front_end)
    corpora = yaml.safe_load((shape.data / "corpora.yaml").read_text())
    corpora["objectives"] = {"kmeans": {"centroids": str(tmp_path / "kmeans.npz")}}
    corpora["corpora"] = {"talk": corpora["corpora"]["talk"]}
    corpora |= {"stages": {0: ["speech"]}, "quota": {"speech": 1}}
    (tmp_path / "corpora.yaml").write_text(yaml.safe_dump(corpora))
    flags = {**flags, "corpora": tmp_path / "corpora.yaml", "save_dir": tmp_path}
    with pytest.raises(
        ValueError, match="found clusters of states of 4 frames, expected 2, as in the model's front end"
    ):
        training.build_model(training.make_task(shape.data, **flags), **flags)
