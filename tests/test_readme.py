"""The commands of the READMEs are taken out of the text and run on toy data: a reader's first try must work."""

import contextlib
import dataclasses
import importlib
import io
import multiprocessing
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from data_prep.binarize import binarize
from data_prep.fetch import DEMO_PACKAGES
from data_prep.vocab import train_vocabulary
from examples.slam import demo
from slam_plugin.data.manifest import Manifest
from tests import training
from tests.commands import PRELOADED
from tests.data_prep.test_demo import write_tree
from tests.data_prep.test_fetch import deb_of, entry

ROOT = Path(__file__).resolve().parents[1]
README, BY_HAND = "README.md", "examples/slam/README.md"

SHELL = ("", "sh", "bash")  # what a block of commands may be marked with
PROGRAMS = ("make", "python", "pip", "git", "cd", "mkdir", "slam", ".")
NOT_RUN = {
    "git": "the network",
    "cd": "this is the checkout already",
    "pip": "tests/test_plugin.py installs",
    ".": "this is the environment already",
    ".ci/run": "this is part of it",
}
VOCABULARY = 60
MICRO = [f"--{name}={value}" for name, value in training.MODEL.items()]
SHORT = ["--max-update", "2", "--cpu"]
# What is appended to a command to make it small. A command that is not here has no test, which is an error.
SMALLER = {
    "fairseq-train slam_pretraining": [*MICRO, *SHORT],
    "fairseq-train slam_speech_to_text": [*MICRO, *SHORT],
    "fairseq-generate slam_speech_to_text": ["--max-len-b", "10", "--cpu"],
    "fairseq-hydra-train": [
        *(f"+model.{name.replace('-', '_')}={value}" for name, value in training.MODEL.items()),
        "optimization.max_update=2",
        "++common.cpu=true",
    ],
    "python -m data_prep.fetch": ["--debs", "debs"],
    "python -m data_prep.demo": ["--limit", "40"],
    "python -m data_prep.vocab": ["--size", str(VOCABULARY)],
    "python -m data_prep.binarize": [],
    "python -m slam_plugin.doctor": [],
    "python -m slam_plugin.report": [],
    "python -m slam_plugin.scoring": [],
    "mkdir": [],
}


# ---------------------------------------------------------------------------------------------------------------------
# what a README holds


class Piece(NamedTuple):
    """A fenced block with its language, or ``code`` within a line, whose language is None."""

    line: int
    language: str | None
    text: str


class Command(NamedTuple):
    line: int
    words: list[str]
    log: str | None  # the file that `tee` writes


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def pieces(text: str) -> Iterator[Piece]:
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$|`([^`]+)`", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Piece(line, found[1], found[2] if found[3] is None else " ".join(found[3].split()))


def is_manifest(piece: Piece) -> bool:
    return piece.language == "" and piece.text.startswith("id\t")


def commands(text: str) -> Iterator[Command]:
    """Every command, those within sentences included: a known program with an argument."""
    for piece in pieces(text):
        if piece.language is None:
            program, _, rest = piece.text.partition(" ")
            name = program.rpartition("/")[2]
            if program == ".ci/run" or (rest and (name in PROGRAMS or name.startswith("fairseq-"))):
                yield Command(piece.line, shlex.split(piece.text), None)
        elif piece.language in SHELL and not is_manifest(piece):
            for line in piece.text.replace("\\\n", " ").splitlines():
                for part in line.split(" && "):
                    command, _, log = part.partition(" 2>&1 | tee ")
                    if words := shlex.split(command, comments=True):
                        yield Command(piece.line, words, log or None)


def yaml_blocks(text: str) -> list[str]:
    return [piece.text for piece in pieces(text) if piece.language == "yaml"]


# ---------------------------------------------------------------------------------------------------------------------
# running it


def kind(words: Sequence[str]) -> str:
    """What a command is called in ``SMALLER``."""
    program = words[0].rpartition("/")[2] if words[0] not in NOT_RUN else words[0]
    if program == "python":
        return " ".join((program, *words[1:3]))
    return f"{program} {after(words, '--task')}" if "--task" in words else program


def after(words: Sequence[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def run(command: Command, folder: Path) -> None:
    """Run a command in ``folder``, made small; AssertionError where it fails or nobody has said how to run it."""
    name = kind(command.words)
    if name in NOT_RUN:
        return
    if name == "make":
        shown = ["make", "-n", *command.words[1:]]
        assert subprocess.run(shown, cwd=ROOT, capture_output=True).returncode == 0, command
        return
    assert name in SMALLER, f"line {command.line}: {name}: not in SMALLER, so no test runs it"
    words = [word.replace("$PWD", str(folder)) for word in [*command.words, *SMALLER[name]]]
    if name == "mkdir":
        subprocess.run(words, cwd=folder, check=True)
        return
    log = folder / (command.log or "output.log")
    (process,) = start([words], folder, [log])
    process.join(timeout=120)
    process.kill()
    output = log.read_text(errors="replace")
    assert process.exitcode == 0, f"line {command.line}: {shlex.join(words)}\n{output[-4000:]}"
    check(words, folder, output)


def check(words: list[str], folder: Path, output: str) -> None:
    """What a command that ended well has to leave behind."""
    if words[0] == "fairseq-train":
        saved = folder / after(words, "--save-dir")
        assert updates(saved / "checkpoint_last.pt") == 2 and (saved / "checkpoint_best.pt").exists()
    elif words[0] == "fairseq-hydra-train":
        (checkpoint,) = folder.glob("outputs/*/*/checkpoints/checkpoint_last.pt")
        assert updates(checkpoint) == 2
    elif words[0] == "fairseq-generate":
        if "--results-path" in words:
            output = (folder / after(words, "--results-path") / "generate-test.txt").read_text(encoding="utf-8")
        assert "\nD-0\t" in output and "Generate test with beam=5" in output
        assert "--scoring" not in words or "BLEU" in output
    elif words[2] == "slam_plugin.report":
        assert "<svg" in (folder / words[3] / "report.html").read_text(encoding="utf-8")


def updates(checkpoint: Path) -> int:
    from slam_plugin import compat

    compat.apply()  # names the types that may be in a checkpoint
    return torch.load(checkpoint, weights_only=True)["optimizer_history"][-1]["num_updates"]


def start(commands: list[list[str]], folder: Path, logs: list[Path]) -> list[multiprocessing.Process]:
    """Processes at work, each a fork of one that has imported fairseq."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "tests.test_readme"])
    processes = [context.Process(target=_execute, args=(w, folder, log)) for w, log in zip(commands, logs, strict=True)]
    for process in processes:
        process.start()
    return processes


def _execute(words: list[str], folder: Path, log: Path) -> None:
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of a loader's workers, as under the shell
    if kind(words).startswith("python"):
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        (script,) = metadata.entry_points(group="console_scripts", name=words[0])
        sys.exit(script.load()())


# ---------------------------------------------------------------------------------------------------------------------
# a checkout with a reader's data


@pytest.fixture(scope="module")
def checkout(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the READMEs speak of, under its names there: DATA, ST_DATA, texts, and the packages for --debs."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("slam_plugin", "data_prep", "examples"):
        (folder / name).symlink_to(ROOT / name)
    copy_corpora(toy, folder)
    tree = write_tree(tmp_path_factory.mktemp("publisher") / "tree")
    files = [entry(f"./{p.relative_to(tree)}", p.read_bytes()) for p in sorted(tree.rglob("*")) if p.is_file()]
    for number, name in enumerate(DEMO_PACKAGES):
        deb_of(folder / "debs" / f"{name}_1_all.deb", *(files if number == 0 else ()))
    return folder


def copy_corpora(toy: Path, folder: Path) -> None:
    data, downstream = folder / "DATA", folder / "ST_DATA"
    names = {"speech/a.tsv": data / "speech/train.tsv", "speech/valid.tsv": data / "speech/valid.tsv"}
    names |= {f"pairs/{split}.tsv": data / "pairs" / f"{split}.tsv" for split in ("train", "valid")}
    for source, target in [*names.items(), *((f"pairs/{s}.tsv", downstream / f"{s}.tsv") for s in ("train", "valid"))]:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((toy / source).read_bytes())
        if not (target.parent / "wav").exists():
            (target.parent / "wav").symlink_to(toy / "wav")
    (downstream / "test.tsv").write_bytes((downstream / "valid.tsv").read_bytes())
    pairs = Manifest.open(downstream / "train.tsv")
    transcripts = [pairs.row(i)["tgt_text"] for i in range(len(pairs))]
    prose = (toy / "text/a.txt").read_text()
    (folder / "transcripts.txt").write_text("\n".join(transcripts) + "\n")
    (folder / "prose.txt").write_text(prose)
    train_vocabulary(transcripts, downstream, VOCABULARY)
    # The command of the README makes the same vocabulary of the same text, and with it the text to train on.
    train_vocabulary([*transcripts, *prose.splitlines()], data, VOCABULARY)
    binarize(toy / "text/valid.txt", data, data / "text/valid")
    (block,) = yaml_blocks(read(README))
    block = re.sub(r"\d{3,}(?=: \[speech, text, pairs\])", "1", block)
    (data / "corpora.yaml").write_text(block.replace("min_length: 50", "min_length: 20"))  # half a second and more


def test_commands_of_the_readme(checkout):
    found = list(commands(read(README)))
    assert {"make", "python -m data_prep.vocab", *(k for k in SMALLER if "generate" in k or "train slam" in k)} <= {
        kind(command.words) for command in found
    }
    for command in found:
        run(command, checkout)


def test_commands_by_hand(checkout):
    found = list(commands(read(BY_HAND)))
    assert {kind(command.words) for command in found} >= SMALLER.keys() - {
        "python -m data_prep.vocab",
        "python -m data_prep.binarize",
    }
    for command in found:
        run(command, checkout)


@pytest.mark.parametrize("text", ["```\nfairseq-score --sys a\n```\n", "as with `python -m data_prep.new --out x`\n"])
def test_a_command_without_a_test_is_an_error(text, tmp_path):
    (command,) = commands(text)
    with pytest.raises(AssertionError, match="no test runs it"):
        run(command, tmp_path)


@pytest.mark.parametrize("document", [README, BY_HAND])
def test_every_block_is_of_a_known_kind(document):
    blocks = [piece for piece in pieces(read(document)) if piece.language is not None]
    assert {piece.language for piece in blocks} <= {*SHELL, "yaml"}
    assert read(document).count("```") == 2 * len(blocks)


def test_corpora_yaml(checkout):
    """The task reads the README's file with the kinds and objectives that are registered."""
    (block,) = yaml_blocks(read(README))
    written = yaml.safe_load(block)
    binarize(checkout / "prose.txt", checkout / "DATA", checkout / "DATA/text/train")
    corpora = training.make_task(checkout / "DATA").corpora
    assert {name: corpus.kind for name, corpus in corpora.corpora.items()} == {
        name: corpus["kind"] for name, corpus in written["corpora"].items()
    }
    assert corpora.objectives.keys() == written["objectives"].keys()
    assert [stage.kinds for stage in corpora.stages] == [tuple(kinds) for kinds in written["stages"].values()]


def test_manifest(tmp_path):
    (block,) = [piece.text for piece in pieces(read(README)) if is_manifest(piece)]
    (tmp_path / "example.tsv").write_text(block, encoding="utf-8")
    manifest = Manifest.open(tmp_path / "example.tsv")
    assert manifest.columns == ("id", "audio", "n_frames", "tgt_text")
    assert manifest.row(0)["n_frames"] == 512


# ---------------------------------------------------------------------------------------------------------------------
# flags


def flags_of(module: str) -> set[str]:
    """The long flags in the help of a module's command line."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    return set(re.findall(r"--[a-z][a-z0-9-]*", text.getvalue()))


def test_flags_named_in_sentences_exist():
    """Flags within commands are tried by running these."""
    from fairseq import options
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    from slam_plugin import compat

    compat.register()
    known = set()
    for parser in (options.get_training_parser(), options.get_generation_parser()):
        known |= parser._option_string_actions.keys()
    for registry in (TASK_DATACLASS_REGISTRY, MODEL_DATACLASS_REGISTRY, CRITERION_DATACLASS_REGISTRY):
        own = [config for name, config in registry.items() if name.startswith("slam_")]
        known |= {f"--{field.name.replace('_', '-')}" for config in own for field in dataclasses.fields(config)}
    for name in ("fetch", "demo", "vocab", "binarize"):
        known |= flags_of(f"data_prep.{name}")
    known |= flags_of("examples.slam.demo")
    for document in (README, BY_HAND):
        sentences = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", sentences))
        assert named and named <= known, f"{document}: {sorted(named - known)}"


def test_flags_of_several_ranks(toy, tmp_path):
    """The flags that the text gives for ranks on processors train two ranks."""
    spans = [piece.text for piece in pieces(read(BY_HAND)) if piece.language is None]
    (shared,) = [span for span in spans if span.startswith("--distributed-world-size 2 ")]
    own = [span for span in spans if span.startswith("--distributed-rank ")]
    assert [span.split()[1] for span in own] == ["0", "1"]
    shared = re.sub(r":\d+", f":{training._free_port()}", shared).split()
    train = ["fairseq-train", *training.command(toy, tmp_path / "save", max_update=2, update_freq=1)]
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    processes = start([[*train, *shared, *span.split()] for span in own], tmp_path, logs)
    for process in processes:
        process.join(timeout=120)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0], logs[0].read_text()[-4000:]
    assert updates(tmp_path / "save/checkpoint_last.pt") == 2


# ---------------------------------------------------------------------------------------------------------------------
# agreement with the demo

BY_HAND_RUN = "runs/hand"


def canonical(words: Sequence[str]) -> dict[str, list[str]]:
    """Flags and their values, whatever their order; what comes before the first flag is under the empty name."""
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
    monkeypatch.setattr(demo, "bf16_supported", lambda: False)
    plan = demo.plan(tmp_path, demo.FULL, None, None)
    steps = [step for group in plan for step in (group if isinstance(group, list) else [group])]
    assert (tmp_path / "corpora.yaml").read_text() == read("examples/slam/config/demo_corpora.yaml")
    names = {
        str(tmp_path / "corpora.yaml"): "examples/slam/config/demo_corpora.yaml",
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
    programs = ("fairseq-train", "fairseq-generate", "data_prep.fetch", "data_prep.demo")
    found = [canonical(c.words) for c in commands(read(BY_HAND)) if {*c.words[:3]} & {*programs}]
    wanted = [words for name, words in demo_commands.items() if "scratch" not in name]
    assert found == wanted


def test_the_configuration_says_what_the_flags_say(demo_commands):
    flags = demo_commands["pretrain"]
    configuration = yaml.safe_load(read("examples/slam/config/pretrain_tiny.yaml"))
    # Names and places, which hydra writes otherwise, and the workers, on which no result depends.
    apart = {"_name", "user_dir", "data", "size", "autocast", "save_dir", "num_workers"}
    for section in configuration.values():
        for key in section.keys() - apart:
            value = section[key][0] if isinstance(section[key], list) else section[key]
            assert flags[f"--{key.replace('_', '-')}"] == ([] if value is True else [str(value)]), key


def test_hydra_on_the_toy_corpus(toy, tmp_path):
    """The configuration of the demo's pre-training trains on another corpus, from another folder."""
    words = ["fairseq-hydra-train", "--config-dir", f"{ROOT}/examples/slam/config", "--config-name", "pretrain_tiny"]
    words += [f"common.user_dir={ROOT}/slam_plugin", f"task.data={toy}"]
    run(Command(0, words, None), tmp_path)
