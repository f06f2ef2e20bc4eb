"""The commands in the project's documents: extracted, made small, and run."""

import itertools
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch

from tests.support import training
from tests.support.commands import PRELOADED

ROOT = Path(__file__).resolve().parents[2]
README = "README.md"
BY_HAND, FIRST, DATA = "docs/demo_by_hand.md", "docs/first_pretraining.md", "docs/data.md"
PRETRAINING, FINETUNING, DECODING = "docs/pretraining.md", "docs/finetuning.md", "docs/decoding.md"
REFERENCE = "docs/reference.md"

SHELL = ("", "sh", "bash")  # languages of a block of commands
PROGRAMS = ("make", "python", "pip", "git", "cd", "mkdir", "cp", "slam", "sbatch", ".")
NOT_RUN = {
    **dict.fromkeys(
        ("sbatch", "examples/slam/cluster/torchrun.sh", "python -m slam_plugin.launch"),
        "tests/end_to_end/test_cluster.py runs it",
    ),
    "git": "the network",
    "cd": "this is the checkout already",
    "pip": "tests/test_plugin.py installs",
    ".": "this is the environment already",
    ".ci/run": "this is part of it",
    "python -m examples.slam.study.alignment": "tests/study/test_records.py runs it",
    "python -m examples.slam.study.capacity": "tests/study/test_capacity.py runs it",
    "python -m examples.slam.downstream": "tests/end_to_end/test_downstream.py runs it",
    "python -m examples.slam.w2v_bert_2": "tests/end_to_end/test_w2v_bert_2.py runs it",
    "hf": "the network",
    "python -m benchmarks.continued": "tests/documents/test_continue_w2v_bert_2.py runs it",
    **dict.fromkeys(("python -m benchmarks.gpu", "benchmarks/h200.sh"), "tests/benchmarks/test_gpu.py runs it"),
    "python -m benchmarks.exported": "tests/benchmarks/test_exported.py runs it",
    "python -m benchmarks.memory": "tests/benchmarks/test_memory.py runs it",
    "python -m benchmarks.recordings": "tests/benchmarks/test_recordings.py runs it",
    "python -m benchmarks.scaling": "tests/benchmarks/test_scaling.py runs it",
    "python -m benchmarks.traffic": "tests/benchmarks/test_traffic.py counts with it",
    "slam align": "tests/commands/test_align.py runs it",
    **dict.fromkeys(("slam serve", "curl"), "tests/serving/test_live.py runs it"),
    "slam prepare synthetic": "tests/data_prep/packages/test_synthetic.py runs it",
}
VOCABULARY = 60
MICRO = [f"--{name}={value}" for name, value in training.MODEL.items()]
SHORT = ["--max-update", "2", "--num-workers", "0", "--cpu"]
BRIEF = ["--eval-args", '{"max_len_b": 10}']  # tokens of an untrained model's output
# Flags that make a command small. A command that is missing here has no test, which is an error.
SMALLER = {
    "fairseq-train slam_pretraining": [*MICRO, *SHORT],
    "fairseq-train slam_speech_to_text": [*MICRO, *SHORT, *BRIEF],
    "fairseq-train slam_joint_translation": [*MICRO, *SHORT, *BRIEF],
    "fairseq-train slam_translation": [*MICRO, *SHORT, *BRIEF],
    "fairseq-train slam_sentence_prediction": [*MICRO, *SHORT],
    "fairseq-generate slam_speech_to_text": ["--max-len-b", "10", "--cpu"],
    "fairseq-generate slam_translation": ["--max-len-b", "10", "--cpu"],
    "fairseq-hydra-train": [
        *(f"+model.{name.replace('-', '_')}={value}" for name, value in training.MODEL.items()),
        "optimization.max_update=2",
        "++common.cpu=true",
    ],
    "slam fetch": ["--debs", "debs"],
    "slam prepare english": ["--limit", "40"],
    "slam prepare english-tasks": ["--limit", "8"],
    "slam vocab": ["--size", str(VOCABULARY)],
    "slam binarize": [],
    "slam ngram": [],
    "python -m examples.slam.study": ["--print", "--run", "run", "--data", "data"],
    "python -m examples.slam.study.report": ["--results", "results.json", "--out", "report"],
    "slam average": [],
    "slam import": [],
    "slam export": [],
    "slam predict": [],
    "slam doctor": [],
    "slam evaluate": ["--max-len-b", "10", "--num-workers", "0", "--cpu"],
    "slam report": [],
    "slam score": [],
    "slam compare": [],
    "slam check": [],
    "slam prepare own": ["--jobs", "1"],
    "mkdir": [],
    "cp": [],
    **{f"slam {name}": [] for name in ("transcribe", "translate", "normalize", "classify", "encode", "cluster")},
    **{f"slam {name}": [] for name in ("prepare", "recipes")},
}


# ---------------------------------------------------------------------------------------------------------------------
# extraction


class Piece(NamedTuple):
    """A fenced block with its language, or ``code`` within a line, with None as language."""

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
    """Return all commands, also those within sentences: a known program with an argument."""
    for piece in pieces(text):
        if piece.language is None:
            program, _, rest = piece.text.partition(" ")
            name = program.rpartition("/")[2]
            known = rest and (name in PROGRAMS or name.startswith("fairseq-"))
            if program == ".ci/run" or (known and not slam_name(piece)):
                yield Command(piece.line, shlex.split(piece.text), None)
        elif piece.language in SHELL and not is_manifest(piece):
            for line in re.sub(r"\s*\\\n\s*", " ", piece.text).splitlines():
                for part in line.split(" && "):
                    command, _, log = part.partition(" 2>&1 | tee ")
                    if words := shlex.split(command, comments=True):
                        yield Command(piece.line, words, log or None)


def slam_name(piece: Piece) -> str | None:
    """What ``slam NAME`` or ``slam prepare NAME`` within a sentence names: ``NAME`` or ``prepare NAME``, else None."""
    found = re.fullmatch(r"slam (prepare [\w-]+|[a-z-]+)", piece.text) if piece.language is None else None
    return found and found[1]


def yaml_blocks(text: str) -> list[str]:
    return [piece.text for piece in pieces(text) if piece.language == "yaml"]


# ---------------------------------------------------------------------------------------------------------------------
# running it


def kind(words: Sequence[str]) -> str:
    """Return the key of a command in ``SMALLER``, without the variables that it begins with."""
    words = list(itertools.dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), words))
    program = words[0].rpartition("/")[2] if words[0] not in NOT_RUN else words[0]
    if program == "python":
        return " ".join((program, *words[1:3]))
    if program == "slam":
        return " ".join((program, *words[1 : 3 if words[1:2] == ["prepare"] else 2]))
    return f"{program} {after(words, '--task')}" if "--task" in words else program


def after(words: Sequence[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def run(command: Command, folder: Path) -> None:
    """Run a command in ``folder``, made small. AssertionError if it fails or is not in ``SMALLER``."""
    name = kind(command.words)
    if name in NOT_RUN:
        return
    if name == "make":
        shown = ["make", "-n", *command.words[1:]]
        assert subprocess.run(shown, cwd=ROOT, capture_output=True).returncode == 0, command
        return
    assert name in SMALLER, f"line {command.line}: {name}: not in SMALLER, so no test runs it"
    words = list(_expanded([*command.words, *SMALLER[name]], folder))
    if name in ("mkdir", "cp"):
        subprocess.run(words, cwd=folder, check=True)
        return
    output = execute(words, folder, folder / (command.log or "output.log"), f"line {command.line}")
    check(words, folder, output)


def _expanded(words: Sequence[str], folder: Path) -> Iterator[str]:
    """Return the expansion of ``words`` by a shell in ``folder``."""
    for word in words:
        if "*" in word:
            yield from sorted(str(path.relative_to(folder)) for path in folder.glob(word))
        else:
            yield word.replace("$PWD", str(folder))


def execute(words: list[str], folder: Path, log: Path, where: str, timeout: float = 300) -> str:
    """Return the output of a command in ``folder``. AssertionError that begins with ``where`` if it fails."""
    (process,) = start([words], folder, [log])
    process.join(timeout)
    process.kill()
    output = log.read_text(errors="replace")
    assert process.exitcode == 0, f"{where}: {shlex.join(words)}\n{output[-4000:]}"
    return output


def check(words: list[str], folder: Path, output: str) -> None:
    """Check the files and the output of a successful command."""
    if words[0] == "fairseq-train":
        saved = folder / after(words, "--save-dir")
        assert updates(saved / "checkpoint_last.pt") == 2 and (saved / "checkpoint_best.pt").exists()
    elif words[0] == "fairseq-hydra-train":
        given = dict(word.split("=", 1) for word in words if "=" in word)
        saved = given.get("checkpoint.save_dir", "outputs/*/*/checkpoints")
        (checkpoint,) = folder.glob(f"{saved.removeprefix(f'{folder}/')}/checkpoint_last.pt")
        assert updates(checkpoint) == 2
    elif words[0] == "fairseq-generate":
        if "--results-path" in words:
            output = (folder / after(words, "--results-path") / "generate-test.txt").read_text(encoding="utf-8")
        ended = f"Generate {after(words, '--gen-subset')} with beam={after(words, '--beam')}"
        assert "\nD-0\t" in output and ended in output
        assert "--scoring" not in words or "BLEU" in output
        nbest = int(after(words, "--nbest")) if "--nbest" in words else 1
        assert output.count("\nD-0\t") == nbest
    elif words[1] in ("transcribe", "translate", "normalize", "classify"):
        assert output.splitlines()
    elif words[1] == "evaluate":
        first = after(words, "--subsets")
        table = (folder / after(words, "--out") / "scores.md").read_text(encoding="utf-8")
        assert table in output and f"| {first}" in table and "| average " in table
    elif words[1] == "compare":
        assert "| A better in |" in output
    elif words[1] == "predict":
        assert "accuracy" in output
        assert "--glue" not in words or (folder / after(words, "--out") / f"{after(words, '--glue')}.tsv").is_file()
    elif words[1] == "average":
        assert (folder / after(words, "--output")).is_file()
    elif words[1] == "import":
        assert (folder / after(words, "--out")).is_file() and "begins afresh: " in output
    elif words[1] == "export":
        written = "model.safetensors" if after(words, "--to") == "hf" else "model.json"
        assert (folder / after(words, "--out") / written).is_file() and "left out: " in output
    elif words[1] == "report":
        assert "<svg" in (folder / words[2] / "report.html").read_text(encoding="utf-8")


def run_python(block: str, folder: Path) -> None:
    """Execute a block of Python in ``folder``."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        exec(compile(block, "block", "exec"), {})
    finally:
        os.chdir(before)


def updates(checkpoint: Path) -> int:
    from slam_plugin import compat

    compat.apply()  # allows the types in a checkpoint
    return torch.load(checkpoint, weights_only=True)["optimizer_history"][-1]["num_updates"]


def start(commands: list[list[str]], folder: Path, logs: list[Path]) -> list[multiprocessing.Process]:
    """Start processes, each a fork of one that has imported fairseq."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, "tests.support.documents"])
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
    os.execvp = _become
    _run_here(words)


def _run_here(words: list[str]) -> None:
    if kind(words).startswith("python"):
        sys.argv = words[2:]
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    elif words[0].rpartition("/")[2] == "slam":
        from slam_plugin.commands.cli import main

        sys.exit(main(words[1:]))
    else:
        sys.argv = words
        (script,) = metadata.entry_points(group="console_scripts", name=words[0])
        sys.exit(script.load()())


def _become(program: str, words: list[str]) -> NoReturn:
    """Do in this process what ``os.execvp`` would do in a fresh one, so that a step need not import fairseq."""
    if shutil.which(program) is None:
        raise FileNotFoundError(2, "No such file or directory", program)
    _run_here(["python" if program == sys.executable else Path(program).name, *words[1:]])
    sys.exit()
