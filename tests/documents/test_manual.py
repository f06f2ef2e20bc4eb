"""The manual as a whole: its form, its first pre-training, the remaining commands, the messages it quotes, its site."""

import ast
import functools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from data_prep.__main__ import CORPORA
from slam_plugin.commands.cli import COMMANDS
from tests.data_prep.layouts.own import write_folders
from tests.data_prep.layouts.sounds import write_sound
from tests.documents import test_data_document
from tests.support import documents
from tests.support.documents import (
    FINETUNING,
    FIRST,
    NOT_RUN,
    REFERENCE,
    ROOT,
    SHELL,
    SMALLER,
    after,
    commands,
    kind,
    pieces,
    read,
)

MANUAL = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
INSTALL, TROUBLESHOOTING, BENCHMARKS = "docs/install.md", "docs/troubleshooting.md", "docs/benchmarks.md"
WIDTH = 100
FEW = ["--jobs", "1", "--valid-share", "0.3"]  # files, so each split needs a larger share of them
# Messages that others print.
OTHERS = {
    "mutable default ... is not allowed",
    "unrecognized arguments: --task slam_pretraining",
    "integer modulo by zero",
}


# ---------------------------------------------------------------------------------------------------------------------
# form


@pytest.mark.parametrize("document", MANUAL)
def test_lines_wrap(document):
    """Rows of tables, pictures and the reference's headings are one line each."""
    lines = read(document).splitlines()
    long = [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "![", "<img"))]
    assert not long


@pytest.mark.parametrize("document", MANUAL)
def test_blocks_are_of_a_known_kind_and_each_command_has_a_test(document):
    found = [piece for piece in pieces(read(document)) if piece.language is not None]
    assert {piece.language for piece in found} <= {*SHELL, "yaml", "python"}
    assert read(document).count("```") == 2 * len(found)
    tested = {"make", *NOT_RUN, *SMALLER, *test_data_document.SMALLER}
    assert {kind(command.words) for command in commands(read(document))} <= tested


@pytest.mark.parametrize("document", MANUAL)
def test_commands_named_in_sentences_exist(document):
    known = {name for group in COMMANDS.values() for name in group}
    known |= {f"prepare {name}" for group in CORPORA.values() for name in (*group, "CORPUS")}
    named = {documents.slam_name(piece) for piece in pieces(read(document))} - {None}
    assert named <= known


def test_the_site_builds(tmp_path):
    """Without a warning: every page is in the navigation, every link and anchor leads somewhere."""
    pytest.importorskip("mkdocs", reason="the environment is older than requirements.lock")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with open(ROOT / "mkdocs.yml", "rb") as file:
        build(load_config(file, site_dir=str(tmp_path / "site"), strict=True))
    assert {path.stem for path in (tmp_path / "site").glob("*.html")} - {"404", "search"} == {
        Path(document).stem for document in MANUAL
    }


# ---------------------------------------------------------------------------------------------------------------------
# commands


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``recordings``, ``read`` and ``books`` as the first pre-training has them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "slam_plugin").symlink_to(ROOT / "slam_plugin")
    write_folders(folder)
    shutil.copytree(folder / "read", folder / "labeled")
    write_sound(folder / "labeled/long.wav", 20.0)  # longer than fine-tuning takes
    (folder / "labeled/long.txt").write_text("a long story\n")
    return folder


@pytest.fixture(scope="module")
def pretrained(own: Path) -> Path:
    """The same after the commands of the page, with its corpora file."""
    (block,) = documents.yaml_blocks(read(FIRST))
    (own / "mine").mkdir()
    (own / "mine/corpora.yaml").write_text(block)
    with pytest.MonkeyPatch.context() as patch:
        few = {"slam prepare own": FEW, "slam cluster": ["--clusters", "8"]}
        patch.setattr(documents, "SMALLER", {**SMALLER, **few})
        for command in commands(read(FIRST)):
            documents.run(command, own)
    return own


def test_the_first_pretraining(pretrained):
    assert {kind(command.words) for command in commands(read(FIRST))} >= {
        *("slam prepare own", "slam vocab", "slam binarize", "slam cluster", "slam check", "slam report"),
        *("fairseq-train slam_pretraining", "slam encode"),
    }
    assert len(list((pretrained / "states").glob("**/*.npy"))) == 24


def test_a_recognizer_follows_the_first_pretraining(pretrained):
    """The command that the page leads to takes the folder and the checkpoint that the page has made."""
    (command,) = [c for c in commands(read(FINETUNING)) if "runs/few_asr" in c.words and "fairseq-train" in c.words]
    assert (pretrained / after(command.words, "--pretrained")).is_file()
    documents.run(command, pretrained)


def test_the_first_corpora_file_has_the_demos_objectives():
    (block,) = documents.yaml_blocks(read(FIRST))
    demo = yaml.safe_load((ROOT / "examples/slam/config/laptop/speech_text_pairs.yaml").read_text())
    assert yaml.safe_load(block)["objectives"] == demo["objectives"]


def test_the_other_commands(pretrained):
    """Those of installing, of troubleshooting (on the folder of the first pre-training) and of the benchmarks."""
    found = {tuple(c.words): c for document in (INSTALL, TROUBLESHOOTING, BENCHMARKS) for c in commands(read(document))}
    assert {kind(words) for words in found} >= {"slam doctor", "slam check", "slam recipes", "python -m benchmarks.gpu"}
    for command in found.values():
        documents.run(command, pretrained)


# ---------------------------------------------------------------------------------------------------------------------
# messages


@functools.cache
def nodes(package: str) -> list[ast.AST]:
    paths = (ROOT / package).rglob("*.py")
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def messages() -> Iterator[str]:
    """The strings in the code, with ``...`` for what is filled in."""
    for node in (*nodes("slam_plugin"), *nodes("data_prep")):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_quoted_messages_are_those_of_the_code():
    rows = [line.split("|")[1] for line in read(TROUBLESHOOTING).splitlines() if line.startswith("| ")]
    quoted = {piece.text for row in rows for piece in pieces(row) if " " in piece.text} - OTHERS
    code = "\n".join(messages())
    assert len(quoted) > 30 and not [text for text in sorted(quoted) if text not in code]


# ---------------------------------------------------------------------------------------------------------------------
# the reference


def test_the_reference_is_that_of_the_code():
    from docs import reference

    assert reference.page() == read(REFERENCE), "run python -m docs.reference"


def test_every_metric_of_the_code_is_described():
    """Calls of fairseq's ``metrics`` name no key that the reference lacks, nor the other way round."""
    from docs import log_keys

    calls = [node for node in nodes("slam_plugin") if isinstance(node, ast.Call)]
    called = {_key(call.args[0]) for call in calls if re.fullmatch(r"metrics\.log_\w+", ast.unparse(call.func))}
    of_histograms = {
        "{name}_perplexity",
        "{name}s_used",
        "{name}s_reachable",
        "{metric}_chance",
        "{metric}_chance_loss",
    }
    described = {key for words in log_keys.LOGGED.values() for key in words}
    assert {key for key in called if key and not key.startswith("_")} - of_histograms == described


def _key(node: ast.expr) -> str:
    """The name of a metric in a call, with what is filled in between braces. Empty where a variable holds all of it."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return f"{_key(node.left)}{{{ast.unparse(node.right)}}}"
    parts = getattr(node, "values", ())
    return "".join(p.value if isinstance(p, ast.Constant) else f"{{{ast.unparse(p.value)}}}" for p in parts)
