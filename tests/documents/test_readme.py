"""The commands of the READMEs are run on toy data: a reader's first try must work."""

import contextlib
import dataclasses
import importlib
import io
import re
from pathlib import Path

import pytest
import soundfile
import yaml

from data_prep.__main__ import CORPORA
from data_prep.text.binarize import binarize
from data_prep.text.vocab import train_vocabulary
from slam_plugin.commands.cli import COMMANDS
from slam_plugin.data.manifests.manifest import Manifest
from tests.data_prep.layouts.games import write_debs
from tests.support import training
from tests.support.documents import (
    BY_HAND,
    README,
    ROOT,
    SHELL,
    VOCABULARY,
    commands,
    is_manifest,
    kind,
    pieces,
    read,
    run,
    start,
    updates,
    yaml_blocks,
)

# ---------------------------------------------------------------------------------------------------------------------
# a checkout with a reader's data


@pytest.fixture(scope="module")
def checkout(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the READMEs speak of, under its names there: DATA, ST_DATA, texts, and the packages for --debs."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("slam_plugin", "data_prep", "examples"):
        (folder / name).symlink_to(ROOT / name)
    copy_corpora(toy, folder)
    write_debs(folder / "debs")
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
    soundfile.write(folder / "talk.flac", *soundfile.read(toy / pairs.value(0, "audio")))
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
    assert {kind(command.words) for command in found} >= {
        "make",
        "slam vocab",
        "fairseq-train slam_pretraining",
        "fairseq-train slam_speech_to_text",
        "fairseq-generate slam_speech_to_text",
    }
    for command in found:
        run(command, checkout)


def test_commands_by_hand(checkout):
    found = list(commands(read(BY_HAND)))
    assert {kind(command.words) for command in found} >= {
        "fairseq-train slam_pretraining",
        "fairseq-train slam_speech_to_text",
        "fairseq-generate slam_speech_to_text",
        "fairseq-hydra-train",
        "slam prepare english",
        "slam report",
    }
    for command in found:
        run(command, checkout)


@pytest.mark.parametrize("text", ["```\nfairseq-score --sys a\n```\n", "as with `slam prepare new --out x`\n"])
def test_a_command_without_a_test_is_an_error(text, tmp_path):
    (command,) = commands(text)
    with pytest.raises(AssertionError, match="no test runs it"):
        run(command, tmp_path)


def test_every_block_is_of_a_known_kind():
    blocks = [piece for piece in pieces(read(README)) if piece.language is not None]
    assert {piece.language for piece in blocks} <= {*SHELL, "yaml", "python"}
    assert read(README).count("```") == 2 * len(blocks)


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
    from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY
    from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    from slam_plugin import compat

    compat.register()
    known = set()
    for parser in (options.get_training_parser(), options.get_generation_parser()):
        known |= parser._option_string_actions.keys()
    for registry in (
        TASK_DATACLASS_REGISTRY,
        MODEL_DATACLASS_REGISTRY,
        CRITERION_DATACLASS_REGISTRY,
        OPTIMIZER_DATACLASS_REGISTRY,
        LR_SCHEDULER_DATACLASS_REGISTRY,
    ):
        own = [config for name, config in registry.items() if name.startswith("slam_") or name == "polynomial_decay"]
        known |= {f"--{field.name.replace('_', '-')}" for config in own for field in dataclasses.fields(config)}
    modules = [module for menu in (COMMANDS, CORPORA) for group in menu.values() for module in group.values()]
    for module in (*modules, "examples.slam.demo", "examples.slam.downstream", "examples.slam.study.__main__"):
        known |= flags_of(module)
    known |= {"--peak", "--items", "--help"} | {"--root", "--tree"}
    for document in [README, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]:
        sentences = re.sub(r"^```.*?^```$", "", read(document), flags=re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", sentences))
        assert named <= known, f"{document}: {sorted(named - known)}"


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
        process.join(timeout=300)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0], logs[0].read_text()[-4000:]
    assert updates(tmp_path / "save/checkpoint_last.pt") == 2
