"""What a checkpoint's configuration may name and ask for. Everything else is refused before it is built."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.tasks import TASK_REGISTRY

from slam_plugin import compat
from slam_plugin.checkpoints import read_checkpoint
from slam_plugin.data.errors import DataError
from slam_plugin.inference.abilities import TASK_ABILITIES
from slam_plugin.saved import names, sizes
from slam_plugin.saved.configuration import RefusedError
from slam_plugin.saved.reading import check_state
from tests.support import hostile

RECIPES = Path(__file__).resolve().parents[2] / "slam_plugin/recipes"
SOUND = sorted(path.stem for path in hostile.SOUND.glob("*.pt"))
EXPECTED = {  # part of the message of each hostile configuration
    "model": "found a checkpoint of the model fconv, expected one of slam_",
    "model by arch": "found a checkpoint of the model None",
    "model by its key": "found a checkpoint of the model None",
    "command line of a model": "found a checkpoint of the model fconv",
    "criterion": "found a checkpoint of the criterion ctc, expected one of cross_entropy",
    "criterion in a command line": "cfg.criterion: found a command line of 'ctc'",
    "adam_betas": "cfg.optimizer.adam_betas: found \"(__import__('pathlib')",
    "adam_betas of one": "adam_betas: found '(0.9)', expected two numbers from 0 to 1",
    "adam_betas too large": "adam_betas: found list, expected two numbers from 0 to 1",
    "optimizer": "found a checkpoint of the optimizer adafactor",
    "task": "found a checkpoint of the task translation, expected one of slam_",
    "task before _name": "cfg.task.task: found 'translation', expected the name in _name alone",
    "task and model of two kinds": "found the model slam_classifier in a checkpoint of the task slam_speech_to_text",
    "bpe": "found a checkpoint of the bpe gpt2, expected one of sentencepiece",
    "tokenizer": "found a checkpoint of the tokenizer nltk",
    "looked up": "cfg.task.data: found '${oc.env:HOME}'",
    "looked up in another section": "cfg.common.log_file: found 'x${oc.env:HOME}'",
    "looked up by its name": "cfg.model._name: found '${task._name}'",
    "10^9 layers": "cfg.model.decoder_layers: found 1000000000, expected 0 to 1000",
    "500 layers": "its weights do not fit the model: they are",
    "wide": "its weights do not fit the model: they are",
    "too many positions": "cfg.model.decoder_max_positions: found 1000000000, expected 1 to 131072",
    "text for a size": "expected Optional[int]",
    "negative": "cfg.model.encoder_ffn_dim: found -1, expected 1 to 65536",
    "infinite": "cfg.model.dropout: found inf, expected a finite number",
    "text for a number of the task": "cfg.task.max_target_positions: found 'many', expected int",
    "text for a choice": "cfg.model.conv_norm: found 'batch'",
    "frames that make no state": "cfg.model.frames_per_state: found 3 with the front end conv, expected 4 or 2",
    "four stacked frames": "cfg.model.frames_per_state: found 4 with the front end stacked, expected 2",
    "no value": "cfg.model.size: found no value",
    "heads that do not divide": "cfg.model.encoder_dim: found 16, expected a multiple of encoder_heads, 3",
    "nested deep": "found more than 16 levels",
    "nested wide": "found more than 16 levels or 100,000 values",
    "a key that is no text": "cfg.common: found the key 1, expected text",
    "a tensor": "cfg.common.seed: found Tensor, expected plain values",
}


@pytest.fixture(scope="module")
def state() -> dict:
    return hostile.sound_state()


@pytest.mark.parametrize("kind", hostile.changes(Path("canary")))
def test_what_is_hostile_is_refused_and_named(state, tmp_path, kind):
    canary, path = tmp_path / "canary", tmp_path / "checkpoint.pt"
    torch.save(hostile.changed(state, hostile.changes(canary)[kind]), path)
    with pytest.raises(RefusedError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(str(path)) and EXPECTED[kind] in str(error.value)
    assert len(str(error.value)) < 1000
    assert not canary.exists()


def test_the_canary_can_appear(tmp_path):
    canary = tmp_path / "canary"
    assert eval(hostile.code(canary, "[(8, 3)]")) == [(8, 3)]
    assert canary.exists()


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_is_accepted(name):
    check_state("sound.pt", hostile.sound_state(name))


def test_args_of_old_fairseq_are_refused(state):
    with pytest.raises(RefusedError, match=r"x\.pt: refused, found args \(dict\)"):
        check_state("x.pt", {**state, "args": {"arch": "fconv"}})


def test_weights_and_other_parts_that_are_something_else(state):
    name, weight = next(iter(state["model"].items()))
    cases = {
        "repeats its numbers": {"model": {name: torch.zeros(1).expand(1 << 40)}},
        "expected a plain tensor": {"model": {name: torch.zeros(2, 2).to_sparse()}},
        "found no weights by name": {"model": [weight]},
        "found no model": {"model": None},
        "task_state: found list": {"task_state": [1]},
        "expected the symbols, model, hash": {"task_state": {"vocabulary": {"symbols": {}}}},
        "found the meter 'system'": {"extra_state": {"metrics": {"train": [(1, "loss", "system", {})]}}},
    }
    for message, change in cases.items():
        changed = {**state, **change}
        if message == "found no model":
            del changed["model"]
        with pytest.raises(DataError, match=rf"x\.pt: .*{message}"):
            check_state("x.pt", changed)


# ---- the list itself


def test_the_list_has_each_task_model_and_criterion_of_the_plugin():
    compat.register()
    assert names.TASKS.keys() == {name for name in TASK_REGISTRY if name.startswith("slam_")} == TASK_ABILITIES.keys()
    assert names.LIST["model"] == {name for name in MODEL_DATACLASS_REGISTRY if name.startswith("slam_")}
    from fairseq.registry import REGISTRIES

    for section in ("criterion", "optimizer", "lr_scheduler"):
        ours = {name for name in REGISTRIES[section]["registry"] if name.startswith("slam_")}
        assert ours and ours <= names.LIST[section]
        assert names.LIST[section] <= REGISTRIES[section]["registry"].keys()


def test_the_list_has_what_the_recipes_name():
    found = 0
    for path in RECIPES.rglob("*.yaml"):
        recipe = yaml.safe_load(path.read_text())
        for section, allowed in names.LIST.items():
            name = (recipe.get(section) or {}).get("_name") if isinstance(recipe.get(section), dict) else None
            if name is not None and section != "model":
                found += 1
                assert name in allowed, f"{path}: {section}"
    assert found > 50


def test_every_size_of_every_model_has_its_bounds():
    compat.register()
    for name in names.LIST["model"]:
        for field in dataclasses.fields(MODEL_DATACLASS_REGISTRY[name]):
            if field.type in (int, int | None) or "Optional[int]" in str(field.type):
                assert (field.name in sizes.BOUNDS) != (field.name in sizes.FREE), field.name


@pytest.mark.parametrize("name", SOUND)
def test_the_lower_bound_is_below_the_weights_and_near_them(name):
    """Near: without embeddings, biases and objectives, layers of these sizes have this share of the weights."""
    state = hostile.sound_state(name)
    weights = sum(value.numel() for value in state["model"].values())
    fewest = sizes.fewest_numbers(state["cfg"]["model"])
    assert 0.25 * weights < fewest < weights
