"""What ``docs/demo_by_hand.md`` and the configuration say is what the demo does."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from examples.slam import demo, training_steps
from slam_plugin.data.plan.yaml_layers import read_layered
from tests.support.documents import BY_HAND, FINETUNING, ROOT, Command, commands, kind, read, run

BY_HAND_RUN = "runs/hand"
RECIPE = "examples/slam/config/laptop/demo.yaml"


def canonical(words: Sequence[str]) -> dict[str, list[str]]:
    """Flags and their values, whatever their order. What comes before the first flag is under the empty name."""
    options: dict[str, list[str]] = {"": []}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag = word
            options[flag] = []
        else:
            options[flag].append(word)
    return options


@pytest.fixture
def demo_commands(tmp_path, monkeypatch) -> dict[str, dict[str, list[str]]]:
    """The demo's commands by the names of their steps, with the paths of ``BY_HAND``, for a processor without bf16."""
    monkeypatch.setattr(training_steps, "bf16_supported", lambda: False)
    plan = demo.plan(tmp_path, demo.FULL, None, None)
    steps = [step for group in plan for step in (group if isinstance(group, list) else [group])]
    assert read_layered(tmp_path / "corpora.yaml").values == read_layered(ROOT / RECIPE).values
    names = {
        str(tmp_path / "corpora.yaml"): RECIPE,
        str(tmp_path): BY_HAND_RUN,
        sys.executable: "python",
        f"{Path(sys.executable).parent}/": "",
        f"{ROOT}/": "",
    }
    found = {}
    for step in steps:
        if not callable(step.run):
            words = list(map(str, step.run))
            for old, new in names.items():
                words = [word.replace(old, new) for word in words]
            found[step.name] = canonical(words)
    return found


def test_commands_by_hand_are_the_demos(demo_commands):
    steps = ("fairseq-train", "fairseq-generate", "slam fetch", "slam prepare", "slam cluster")
    found = [canonical(c.words) for c in commands(read(BY_HAND)) if kind(c.words).startswith(steps)]
    wanted = [words for name, words in demo_commands.items() if "scratch" not in name]
    assert found == wanted


def test_few_labels_are_fine_tuned_as_in_the_demo(demo_commands):
    """The recipe for a reader's own labels is the one that was measured, with limits and checkpoints beside it."""
    demos = demo_commands["asr-pretrained"]
    (own,) = [canonical(c.words) for c in commands(read(FINETUNING)) if "runs/few_asr" in c.words]
    beside = {"--max-source-positions", "--ddp-backend", "--validate-interval-updates", "--keep-best-checkpoints"}
    assert own.keys() - demos.keys() == beside
    places = {"", "--pretrained", "--save-dir"}
    differing = {flag for flag in own.keys() & demos.keys() if own[flag] != demos[flag]}
    assert differing == places | {"--num-workers"}  # on which no result depends


def test_the_configuration_says_what_the_flags_say(demo_commands):
    flags = demo_commands["pretrain"]
    configuration = yaml.safe_load(read("examples/slam/config/laptop/pretrain.yaml"))
    # Names and places, which hydra writes otherwise, and the workers, on which no result depends.
    apart = {"_name", "user_dir", "data", "corpora", "size", "autocast", "save_dir", "num_workers"}
    for section in configuration.values():
        for key in section.keys() - apart:
            value = section[key][0] if isinstance(section[key], list) else section[key]
            assert flags[f"--{key.replace('_', '-')}"] == ([] if value is True else [str(value)]), key


def test_hydra_on_the_toy_corpus(toy, tmp_path):
    """The configuration of the demo's pre-training trains on another corpus, from another folder."""
    words = ["fairseq-hydra-train", "--config-dir", f"{ROOT}/examples/slam/config/laptop", "--config-name", "pretrain"]
    words += [f"common.user_dir={ROOT}/slam_plugin", f"task.data={toy}", f"task.corpora={toy}/corpora.yaml"]
    run(Command(0, words, None), tmp_path)
