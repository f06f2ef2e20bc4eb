"""Every variant that the paper's tables compare, and those that came after, trains, validates and resumes."""

import copy
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.support import training

UPDATES, STOP = 4, 2
SPEECH = {"contrastive": training.CORPORA["objectives"]["contrastive"], "masked_prediction": {}}
MASK = {"mask_span": 3}
SPEECH_MASK = {"speech_mask_span": 3}
OF_THE_PRESET = dict.fromkeys(name.replace("-", "_") for name in training.MODEL)  # sizes left out
ALL_AT_ONCE = {0: ["speech", "text", "pairs"]}

# name: (objectives, their kinds or stages, flags)
VARIANTS = {
    "w2v-conformer": ({"contrastive": {**SPEECH["contrastive"], "context": "multimodal"}}, ["speech"], {}),
    "w2v-bert": (SPEECH, ["speech"], {}),
    "bert, sentences, spans of 20": ({"span_mlm": {"mask_span": 20}}, ["text"], {}),
    "best-rq, random mask vectors": ({"best_rq": {"codes": 32, **MASK}}, ["speech"], {"mask_vectors": "random"}),
    "w2v-bert and bert, learned mask vector": ({**SPEECH, "span_mlm": {}}, ["speech", "text"], {}),
    "tlm of text alone": ({"span_mlm": {}, "tlm": SPEECH_MASK}, ["text", "pairs"], {}),
    "stm, clean, false sentences": (
        {**SPEECH, "span_mlm": {}, "tlm": SPEECH_MASK, "stm": {"inputs": "clean", "negatives": "text"}},
        ["speech", "text", "pairs"],
        {},
    ),
    "stm alone": ({"stm": {}}, ["pairs"], {}),
    "stm, a true and a hard false partner": (
        {"ctc": {}, "stm": {"inputs": "clean", "partners": "both", "negatives": "hard"}},
        ["pairs"],
        {},
    ),
    "ctc alone": ({"ctc": {}}, ["pairs"], {}),
    "ctc, and text as pseudo-speech from the second update on": (
        {
            "ctc": {"inputs": "augmented", "layer": "top", "tied": True},
            "text_ctc": {"weight": {0: 0.0, 1: 0.0, 3: 1.0}, "length": 12, **MASK},
        },
        ["text", "pairs"],
        {},
    ),
    "tlm and ctc, as mSLAM": (
        {
            **SPEECH,
            "span_mlm": {"weight": 0.3, "mask_span": 20},
            "tlm": {"weight": 0.03, **SPEECH_MASK},
            "ctc": {"weight": 0.03},
        },
        ["speech", "text", "pairs"],
        {},
    ),
    "everything, two ranks": (
        {
            **SPEECH,
            # If each rank counted codes by itself, a resumed run would differ: it has the first rank's counts.
            "masked_prediction": {"frequency_bias": True},
            "best_rq": {"codes": 32, **MASK, "frequency_bias": True},
            "span_mlm": {},
            "tlm": SPEECH_MASK,
            "stm": {},
            "ctc": {"inputs": "clean"},
        },
        ALL_AT_ONCE,
        {"ranks": 2},
    ),
    "three stages, speech alone at last": (
        {**SPEECH, "span_mlm": {}, "tlm": SPEECH_MASK},
        {0: ["speech", "text"], 2: ["speech", "text", "pairs"], 5: ["speech"]},
        {},
    ),
    "schedules, loss at unmasked frames": (
        {
            "contrastive": {**SPEECH["contrastive"], "weight": {0: 1.0, 3: 0.1}},
            "masked_prediction": {"weight": {1: 0.0, 4: 2.0}, "unmasked_weight": {0: 1.0, 3: 0.0}},
            "best_rq": {"codes": 32, **MASK, "unmasked_weight": 0.5, "layer": "middle"},
        },
        ["speech"],
        {},
    ),
    "rotary, layer norm": (
        {**SPEECH, "span_mlm": {}},
        ["speech", "text"],
        {"positions": "rotary", "conv_norm": "layer"},
    ),
    "w2v-BERT 2.0's shape": (
        {**SPEECH, "span_mlm": {}, "tlm": SPEECH_MASK},
        ALL_AT_ONCE,
        {"arch": "slam_pretraining_w2v_bert_2_tiny", **OF_THE_PRESET, "checkpoint_activations": True},
    ),
    "checkpointed activations": ({**SPEECH, "span_mlm": {}}, ["speech", "text"], {"checkpoint_activations": True}),
}
# One epoch of eight plan steps: another one would be saved and validated as well.
OPTIMIZER = {"optimizer": "slam_adamw", "adam_betas": "[0.9, 0.98]", "log_interval": 1, "save_interval_updates": STOP}
OPTIMIZER["steps_per_epoch"] = UPDATES * training.UPDATE_FREQ


def corpora_of(path: Path, objectives: dict, stages: list | dict) -> Path:
    """The toy's corpora of the kinds that occur, in a file anywhere, with sentences for spans of 20."""
    stages = stages if isinstance(stages, dict) else {0: stages}
    kinds = {kind for names in stages.values() for kind in names}
    corpora = copy.deepcopy({n: c for n, c in training.CORPORA["corpora"].items() if c["kind"] in kinds})
    if objectives.get("span_mlm", {}).get("mask_span") == 20:
        del corpora["prose"]["block"]
    quota = {kind: count for kind, count in training.CORPORA["quota"].items() if kind in kinds}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        yaml.safe_dump(
            {"stages": stages, "quota": quota, "corpora": corpora, "objectives": objectives}, sort_keys=False
        )
    )
    return path


def run(data: Path, folder: Path, corpora: Path, **flags) -> training.Run:
    flags = {**OPTIMIZER, "max_update": UPDATES, "corpora": corpora, **flags}
    found = training.train(data, folder, **flags)
    assert found.code == 0, found.output[-3000:]
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_trains_validates_and_resumes(toy, tmp_path, name):
    """The resumed run does not validate, which changes nothing."""
    objectives, stages, flags = VARIANTS[name]
    corpora = corpora_of(tmp_path / "corpora.yaml", objectives, stages)
    whole = run(toy, tmp_path / "whole", corpora, **flags)
    valid = whole.logged("valid")[-1]
    for objective in objectives:
        losses = [key for key in valid if key.startswith(objective) and key.endswith("_loss")]
        assert losses and all(0.0 < valid[key] < 100.0 for key in losses), (objective, valid)
    chances = [key for key in valid if "_chance" in key]
    trained = (*objectives, "retrieval")  # the latter is of an instrument
    assert all(key.startswith(trained) for key in chances), "what is not trained has no chance either"
    (tmp_path / "resumed").mkdir()
    whole.after(STOP).rename(tmp_path / "resumed/checkpoint_last.pt")
    resumed = run(toy, tmp_path / "resumed", corpora, **flags, disable_validation=True)
    assert [log["num_updates"] for log in resumed.logged("train_inner")] == list(range(STOP + 1, UPDATES + 1))
    states = [found.checkpoint() for found in (whole, resumed)]
    assert (
        training.differing(*({key: state[key] for key in ("model", "last_optimizer_state")} for state in states)) == []
    )


def test_speech_alone_goes_on_from_a_joint_checkpoint(toy, tmp_path, reference):
    """The paper's last row: the same trunk and codebook, a new optimizer and a plan without text."""
    joint = tmp_path / "joint.pt"
    joint.write_bytes((reference.folder / "checkpoint_last.pt").read_bytes())
    corpora = corpora_of(tmp_path / "corpora.yaml", SPEECH, ["speech"])
    sizes = dict.fromkeys(name.replace("-", "_") for name in training.MODEL)  # left out: the checkpoint has them
    flags = {**sizes, "arch": "slam_pretraining", "pretrained": joint}
    first = {"lr": 0.0, "warmup_init_lr": 0.0, "max_update": 1, "disable_validation": True}
    start = run(toy, tmp_path / "start", corpora, **flags, **first)
    taken, weights = reference.checkpoint()["model"], start.checkpoint()["model"]
    assert weights.keys() == {name for name in taken if not name.startswith(("objectives.span", "objectives.stm"))}
    assert training.differing(weights, {name: taken[name] for name in weights}) == []
    assert re.search(r"did not take \d+ tensors: objectives.span_mlm, objectives.stm$", start.output, re.MULTILINE)
    assert "not taken from it, newly initialized: none" in start.output
    # Its checkpoints still encode text, although the run reads none.
    known, kept = (found.checkpoint()["task_state"]["text_normalization"] for found in (reference, start))
    assert kept == known

    whole = run(toy, tmp_path / "whole", corpora, **flags)
    joint.unlink()
    for pretrained in (joint, None):  # the sizes are in the checkpoint that the run resumes from
        folder = tmp_path / f"resumed-{pretrained is None}"
        folder.mkdir()
        shutil.copy(whole.after(STOP), folder / "checkpoint_last.pt")
        resumed = run(toy, folder, corpora, **{**flags, "pretrained": pretrained}, disable_validation=True)
        assert ("not read, the run resumes from" in resumed.output) == (pretrained is not None)
        assert training.differing(whole.checkpoint()["model"], resumed.checkpoint()["model"]) == []


def test_objectives_that_a_checkpoint_lacks_begin_afresh(toy, tmp_path, reference):
    objectives = {**SPEECH, "best_rq": {"codes": 32, **MASK}}
    corpora = corpora_of(tmp_path / "corpora.yaml", objectives, ["speech"])
    joint = reference.folder / "checkpoint_last.pt"
    started = run(toy, tmp_path, corpora, pretrained=joint, max_update=1, disable_validation=True)
    assert "not taken from it, newly initialized: objectives.best_rq" in started.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state["model"].pop("trunk.speech_projection.bias"), "missing .*trunk.speech_projection.bias"),
        (
            lambda state: state["model"].update({"objectives.contrastive.quantizer.codebook": torch.zeros(3, 8)}),
            r"of another shape .*codebook \(3, 8\), expected \(16, 8\)",
        ),
        (
            lambda state: state.update(model={f"encoder.{name}": w for name, w in state["model"].items()}),
            "found a fine-tuned model, expected a checkpoint of pre-training",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(toy, tmp_path, reference, change, message):
    state = reference.checkpoint()
    change(state)
    torch.save(state, tmp_path / "other.pt")
    task = training.make_task(toy, save_dir=tmp_path)
    with pytest.raises(ValueError, match=f"other.pt: .*{message}"):
        training.build_model(task, pretrained=tmp_path / "other.pt", save_dir=tmp_path)
