"""Micro checkpoints of untrained models, as fairseq's trainer saves them, whose data folder is gone."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch

MICRO = ["--encoder-dim=16", "--encoder-heads=2", "--encoder-ffn-dim=32", "--speech-layers=1", "--multimodal-layers=3",
         "--subsample-channels=2", "--conv-groups=2"]  # fmt: skip
DECODER = ["--decoder-dim=16", "--decoder-heads=2", "--decoder-ffn-dim=32", "--decoder-layers=1",
           "--decoder-max-positions=24"]  # fmt: skip
CTC = ["--task=slam_speech_to_text", "--arch=slam_ctc", "--criterion=slam_ctc", *MICRO]
TRANSDUCER = ["--task=slam_speech_to_text", "--arch=slam_transducer", "--criterion=slam_transducer", *MICRO,
              "--prediction-dim=8", "--prediction-layers=1", "--joint-dim=16"]  # fmt: skip
TRANSLATION = ["--task=slam_speech_to_text", "--arch=slam_speech_to_text", "--criterion=label_smoothed_cross_entropy",
               *MICRO, *DECODER]  # fmt: skip
PRETRAINING = ["--task=slam_pretraining", "--arch=slam_pretraining_tiny", "--criterion=slam_pretraining", *MICRO,
               "--positions=rotary"]  # fmt: skip
JOINT = ["--task=slam_joint_translation", "--arch=slam_speech_to_text", "--criterion=label_smoothed_cross_entropy",
         *MICRO, *DECODER, "--max-target-positions=24"]  # fmt: skip
TEXT = ["--task=slam_translation", "--arch=slam_text_to_text", "--criterion=label_smoothed_cross_entropy",
        *MICRO, *DECODER, "--max-source-positions=24"]  # fmt: skip
CLASSIFIER = ["--task=slam_sentence_prediction", "--arch=slam_classifier", "--criterion=sentence_prediction",
              *MICRO, "--max-positions=24"]  # fmt: skip
CORPORA = """
corpora: {speech: {kind: speech, train: [train.tsv], budget: 1000}}
objectives: {contrastive: {}, masked_prediction: {}}
"""
JOINT_CORPORA = "corpora: {told: {kind: speech_translation, train: [train.tsv], budget: 1000}}"
LINES = ["ahoj ryby", "lod jede", "kapitan cte"]


class Saved(NamedTuple):
    path: Path
    task: Any
    model: torch.nn.Module


def save(folder: Path, *flags: str, fill: Callable[[Path], None] = lambda data: None) -> Saved:
    """Make a checkpoint, with random weights, of the model that ``flags`` specify.

    Args:
        fill: adds to the data folder what the task needs besides a vocabulary of the characters of ``LINES``.
    """
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.trainer import Trainer

    from data_prep.text.vocab import train_vocabulary
    from slam_plugin import compat

    data = folder / "data"
    data.mkdir(parents=True)
    train_vocabulary(LINES, data, 40, "char")
    fill(data)
    compat.register()
    arguments = [str(data), *flags, "--optimizer=adam", "--lr=0.001", "--cpu", f"--save-dir={folder}"]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), arguments))
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(0)
    model = task.build_model(cfg.model)
    with torch.no_grad():  # norms and biases start as ones and zeros, which would hide missing ones
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(folder / "model.pt"), {})
    shutil.rmtree(data)
    return Saved(folder / "model.pt", task, model.eval())


def add_adapters(saved: Saved, **changes: Any) -> None:
    """Give the trunk of a fine-tuned model adapters with random weights, and write its checkpoint again.

    Args:
        changes: other fields of the model's configuration in the checkpoint.
    """
    from slam_plugin.models.base.adapters import adapt
    from slam_plugin.modules.lora import is_adapter

    trunk, state = saved.model.encoder.trunk, torch.load(saved.path, weights_only=False)
    adapt(trunk, 2)
    for name, parameter in trunk.named_parameters():
        if is_adapter(name):
            torch.nn.init.normal_(parameter, std=0.3)
    state["cfg"]["model"].update(lora_rank=2, **changes)
    torch.save({**state, "model": saved.model.state_dict()}, saved.path)


def task_of(model: str) -> str:
    """Return the first task that builds a model of the plugin."""
    from slam_plugin.saved.names import TASKS

    return next(task for task, models in TASKS.items() if model in models)


def plan(data: Path) -> None:
    """Write what a pre-training task reads at setup."""
    (data / "corpora.yaml").write_text(CORPORA)
    (data / "train.tsv").touch()


def joint_plan(data: Path, languages: Sequence[str] = ("de", "ca")) -> None:
    """Write what joint translation reads at setup, with tags of ``languages`` and a source vocabulary."""
    from data_prep.text.vocab import train_vocabulary

    (data / "corpora.yaml").write_text(JOINT_CORPORA)
    (data / "train.tsv").touch()
    train_vocabulary(["der Fisch", "das Boot", "el peix"], data, 40, "char", languages=languages)
    train_vocabulary(LINES, data / "source", 40, "char")


def labels(data: Path) -> None:
    """Write the classes of a classifier."""
    (data / "label").mkdir()
    (data / "label" / "dict.txt").write_text("bad 2\ngood 1\nugly 1\n")


def write_sounds(folder: Path) -> list[str]:
    """Write noise of changing color, with different, unsorted lengths."""
    rng, paths = np.random.default_rng(0), []
    for i, seconds in enumerate((0.31, 1.9, 0.7, 0.7, 1.2)):
        noise = rng.standard_normal(int(seconds * 16000))
        swept = noise * np.sin(np.linspace(0, 40 * (i + 1), len(noise))) + np.convolve(noise, np.ones(8), "same")
        paths.append(str(folder / f"{i}.wav"))
        soundfile.write(paths[-1], 0.05 * swept, 16000)
    return paths


def batch_of(path: str) -> dict[str, torch.Tensor]:
    """Return features (1, frames, 80) of one utterance and its mask without padding."""
    from slam_plugin.data.audio import load_features, normalize
    from slam_plugin.modules.front_end import FrontEnd

    features = normalize(load_features(path, ""), FrontEnd())[None]
    return {"features": features, "padding_mask": torch.zeros(features.shape[:2], dtype=torch.bool)}
