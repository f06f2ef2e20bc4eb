"""The commands of the README and of the demo by hand are run on toy data: a reader's first try must work."""

import contextlib
import dataclasses
import importlib
import io
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from data_prep.__main__ import CORPORA
from examples.slam import demo
from slam_plugin.commands.cli import COMMANDS
from tests.data_prep.layouts.games import write_debs
from tests.data_prep.layouts.own import write_folders
from tests.data_prep.layouts.sounds import write_sound
from tests.support import checkpoints, documents, training
from tests.support.documents import (
    BY_HAND,
    README,
    ROOT,
    SHELL,
    after,
    commands,
    kind,
    pieces,
    read,
    run,
    run_python,
    start,
    updates,
)

# ---------------------------------------------------------------------------------------------------------------------
# a checkout with a reader's data


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the packages for ``--debs``."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("slam_plugin", "data_prep", "examples"):
        (folder / name).symlink_to(ROOT / name)
    write_debs(folder / "debs")
    return folder


def test_commands_of_the_readme(tmp_path, monkeypatch):
    """From folders of recordings to states, and the Python block with a translator where the text has one."""
    (tmp_path / "slam_plugin").symlink_to(ROOT / "slam_plugin")
    write_folders(tmp_path)
    for folder in ("recordings", "read"):
        write_sound(tmp_path / folder / "long.wav", 20.0)  # longer than the recipe takes
    (tmp_path / "read/long.txt").write_text("a long story\n")
    monkeypatch.setattr(
        documents,
        "SMALLER",
        {
            **documents.SMALLER,
            "slam prepare own": ["--jobs", "1", "--valid-share", "0.3"],
            "slam cluster": ["--clusters", "8"],
        },
    )
    found = list(commands(read(README)))
    assert {kind(command.words) for command in found} >= {
        *("make", "slam prepare own", "slam vocab", "slam cluster", "fairseq-train slam_pretraining", "slam encode"),
        *("slam report", "mkdir"),
    }
    for command in found:
        run(command, tmp_path)
    assert "long.wav" in (tmp_path / "mine/pairs/dropped.tsv").read_text()
    assert len(list((tmp_path / "states").glob("**/*.npy"))) == 25
    (block,) = [piece.text for piece in pieces(read(README)) if piece.language == "python"]
    (tmp_path / "translator").mkdir()
    one_language = partial(checkpoints.joint_plan, languages=())
    longer = ["--decoder-max-positions=48", "--max-target-positions=48"]  # for the text of the block
    translator = checkpoints.save(tmp_path / "translator", *checkpoints.JOINT, *longer, fill=one_language)
    make_what_the_demo_makes(tmp_path, translator.path, next((tmp_path / "recordings").rglob("*.wav")))
    run_python(block, tmp_path)


def make_what_the_demo_makes(folder: Path, translator: Path, sound: Path) -> None:
    """Copy a translator and sound to where a step of ``make demo`` leaves them."""
    plan = demo.plan(folder / "runs/demo", demo.FULL, None, None)
    steps = [step for group in plan for step in (group if isinstance(group, list) else [group])]
    (saved,) = [after(list(map(str, step.run)), "--save-dir") for step in steps if step.name == "st-pretrained"]
    places = {Path(saved, "checkpoint_best.pt"): translator, folder / "runs/demo/clips/st/0.flac": sound}
    for place, source in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)


def test_commands_by_hand(checkout):
    found = list(commands(read(BY_HAND)))
    assert {kind(command.words) for command in found} >= {
        "fairseq-train slam_pretraining",
        "fairseq-train slam_speech_to_text",
        "fairseq-train slam_joint_translation",
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


# ---------------------------------------------------------------------------------------------------------------------
# flags


def flags_of(module: str) -> set[str]:
    """The long flags in the help of a module's command line."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
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
    for module in (
        *modules,
        "examples.slam.demo",
        "examples.slam.downstream",
        "examples.slam.study.__main__",
        "examples.slam.study.capacity",
    ):
        known |= flags_of(module)
    known |= {"--peak", "--stages", "--tiny", "--help"} | {"--root", "--tree"}
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
    shared = re.sub(r":\d+", f":{training.free_port()}", shared).split()
    train = ["fairseq-train", *training.command(toy, tmp_path / "save", max_update=2, update_freq=1)]
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    processes = start([[*train, *shared, *span.split()] for span in own], tmp_path, logs)
    for process in processes:
        process.join(timeout=300)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0], logs[0].read_text()[-4000:]
    assert updates(tmp_path / "save/checkpoint_last.pt") == 2
