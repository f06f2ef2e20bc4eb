"""Six utterances of a human voice, which every speech model must be able to memorize."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.audio import load_features
from slam_plugin.data.errors import DataError
from slam_plugin.data.manifests.manifest import write_manifest
from tests.support import training
from tests.support.commands import fairseq
from tests.support.real import prompts
from tests.tasks.test_speech_to_text import generated

SIZES = {
    "encoder-dim": 64,
    "encoder-heads": 4,
    "encoder-ffn-dim": 128,
    "speech-layers": 1,
    "multimodal-layers": 1,
    "subsample-channels": 16,
}
FLAGS = {
    **SIZES,
    "task": "slam_speech_to_text",
    "positions": "rotary",
    "dropout": 0,
    "autocast": "none",
    "optimizer": "slam_adamw",
    "adam-betas": None,
    "weight-decay": 0.01,
    "warmup-init-lr": None,
    "warmup-updates": 30,
    "batch-size": None,
    "max-tokens": 2500,
    "steps-per-epoch": None,
    "update-freq": 1,
    "no-epoch-checkpoints": True,
    "save-interval": 1000,  # only at the end
    "audio-root": "/",
    "log-interval": 50,
}


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """The utterances, their features in files: hundreds of epochs need not decode and analyze the same sounds."""
    try:
        found = prompts(6, words=4)
    except DataError as error:
        pytest.skip(f"no human speech to be had: {error}")
    folder = tmp_path_factory.mktemp("features")
    return [prompt._replace(audio=written(prompt, folder)) for prompt in found]


def written(prompt, folder) -> Path:
    path = folder / f"{prompt.id}.npy"
    np.save(path, load_features(str(prompt.audio), "").numpy())
    return path


def write(folder, rows, model_type, languages=()):
    columns = ["id", "audio", "n_frames", "tgt_text", *(["tgt_lang"] if languages else [])]
    for split in ("train", "valid"):
        write_manifest(folder / f"{split}.tsv", rows, columns)
    train_vocabulary([row["tgt_text"] for row in rows], folder, 200, model_type, languages=languages)
    return folder


def row(prompt, language, tagged=False):
    tag = {"tgt_lang": language, "id": f"{prompt.id}-{language}"} if tagged else {"id": prompt.id}
    return {**tag, "audio": str(prompt.audio), "n_frames": prompt.n_frames, "tgt_text": prompt.text[language]}


def learn(data, folder, **flags):
    run = training.train(data, folder, **{**FLAGS, **flags})
    assert run.code == 0, run.output[-3000:]
    return run


def decode(data, run, *arguments):
    """Return fairseq-generate's hypotheses for the training set, and the references."""
    path = [
        "--path",
        run.folder / "checkpoint_last.pt",
        "--gen-subset",
        "valid",
        "--max-tokens",
        "4000",
        "--audio-root",
        "/",
    ]
    output = fairseq("generate", run.folder / "log", data, "--task", "slam_speech_to_text", *path, *arguments)
    return generated(output)


@pytest.fixture(scope="module")
def ctc(six, tmp_path_factory):
    """Data and a run of the CTC model, which cannot memorize texts, and so learns first what the others start from."""
    folder = tmp_path_factory.mktemp("ctc")
    data = write(folder, [row(prompt, "en") for prompt in six], "char")
    flags = {"arch": "slam_ctc", "criterion": "slam_ctc", "final-dropout": 0, "lr": 0.004, "max-update": 180}
    flags |= {"max-tokens": 1250}
    return data, learn(data, folder / "save", eval_wer=True, validate_interval=30, **flags)


def begun(ctc):
    """The trunk of the recognizer, which brings its sizes."""
    return {**dict.fromkeys((*SIZES, "positions")), "pretrained": ctc[1].folder / "checkpoint_last.pt"}


def test_ctc_makes_no_error(ctc):
    data, run = ctc
    assert run.logged("valid")[-1]["wer"] == 0.0
    hypotheses, references = decode(data, run, "--beam", "4")
    assert hypotheses == references and len(references) == 6


def test_a_transducer_makes_no_error(ctc, tmp_path):
    """From scratch, its prediction network memorizes the texts long before it recognizes which of them is spoken."""
    flags = {"arch": "slam_transducer", "criterion": "slam_transducer", "lr": 0.004, "max-update": 260}
    run = learn(ctc[0], tmp_path / "save", eval_wer=True, validate_interval=260, **flags, **begun(ctc))
    assert run.logged("valid")[-1]["wer"] == 0.0
    hypotheses, references = decode(ctc[0], run, "--beam", "4")
    assert hypotheses == references and len(references) == 6


def test_a_translator_writes_both_languages(ctc, six, tmp_path):
    rows = [row(prompt, "es", tagged=True) for prompt in six]
    rows += [row(prompt, "fr", tagged=True) for prompt in six[:3]]
    data = write(tmp_path, rows, "unigram", languages=["es", "fr"])
    flags = {"arch": "slam_speech_to_text", "criterion": "label_smoothed_cross_entropy", "lr": 0.002}
    flags |= {"decoder-layers": 1, "decoder-dim": 64, "decoder-ffn-dim": 128, "decoder-dropout": 0}
    flags |= {"max-update": 300, "eval-bleu": True, "eval-args": '{"max_len_b": 60}', "validate-interval": 300}
    run = learn(data, tmp_path / "save", **flags, **begun(ctc))
    assert run.logged("valid")[-1]["bleu"] == 100.0
    hypotheses, references = decode(data, run, "--beam", "4", "--max-len-b", "60")
    assert hypotheses == references and len(references) == 9
