"""The steps of the example: a model comes in, learns jointly from speech, text and pairs, and goes out."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from examples.slam.steps import Step
from examples.slam.training_steps import (
    ROOT,
    SPEECH_TO_TEXT,
    FineTuning,
    PreTraining,
    content_hash,
    decode,
    fine_tune,
    pretrain,
    script,
    validated,
)
from examples.slam.w2v_bert_2.comparison import compare

CORPORA = ROOT / "examples/slam/config/laptop/w2v_bert_2.yaml"
SIDE = Path(__file__).parent / "transformers_side.py"
MINUTES = 10  # of transcripts
TESTS = "asr/test.tsv"


class Scale(NamedTuple):
    """Updates of each training."""

    theirs: int
    joint: int
    frozen: int  # first updates of the joint training, in which the imported layers wait
    recognition: int


FULL = Scale(theirs=800, joint=1000, frozen=20, recognition=400)
QUICK = Scale(theirs=4, joint=20, frozen=2, recognition=4)


def steps(run: Path, data: Path, scale: Scale, threads: int, seed: int = 1) -> list[Step | list[Step]]:
    """Return the steps in ``run``, on ``data`` of ``slam prepare english``. Steps in a list run side by side.

    Args:
        threads: of a training. The two fine-tunings have half of them each.
        seed: of every training.
    """
    theirs, start, exported = run / "theirs", run / "start.pt", run / "exported"
    joint, trained, direct = (run / name for name in ("joint", "recognizer", "direct"))
    imported = [script("slam"), "import", "w2v-bert-2", str(theirs), "--vocab", str(data), "--out", str(start)]
    best = trained / "checkpoint_best.pt"
    leaving = [script("slam"), "export", "--to", "hf", "--checkpoint", str(best), "--out", str(exported)]
    return [
        _train_theirs(theirs, data, scale, threads, seed),
        Step("import", imported, outputs=[start]),
        _continued(joint, data, start, scale, threads, seed),
        [
            fine_tune(folder, data / "asr", _recognition(scale), source, max(1, threads // 2), seed)
            for folder, source in ((trained, joint / "checkpoint_last.pt"), (direct, start))
        ],
        Step("export", leaving, outputs=[exported], resumes_from=[exported]),
        [
            *(_transcribe(run, data, model) for model in (theirs, exported)),
            *(_decode(run, data, model) for model in (trained, direct)),
        ],
        Step("compare", partial(compare, run), outputs=[run / "results.json"]),
    ]


def _side(name: str, data: Path, words: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.transformers_side", name, str(data), *map(str, words)]


def _train_theirs(folder: Path, data: Path, scale: Scale, threads: int, seed: int) -> Step:
    words = ["--minutes", MINUTES, "--updates", scale.theirs, "--seed", seed, "--out", folder]
    return Step(
        folder.name,
        _side("train", data, words),
        outputs=[folder / "config.json"],
        resumes_from=[folder],
        environment={"OMP_NUM_THREADS": str(threads)},
        depends_on={"SIDE": content_hash(SIDE)},
    )


def _continued(folder: Path, data: Path, start: Path, scale: Scale, threads: int, seed: int) -> Step:
    """Return the joint training. Its sizes are the checkpoint's, so it has no flag for them.

    It ends before unpaired speech is repeated, so that its losses on speech are those of data that it has not seen.
    """
    recipe = PreTraining(CORPORA, scale.joint, scale.joint, size=None, lr=0.006)
    flags = ["--pretrained", str(start), "--freeze-encoder-updates", str(scale.frozen), "--encoder-lr-scale", "0.5"]
    return pretrain(folder, data, recipe, threads, seed, [*flags, "--disable-validation"])


def _recognition(scale: Scale) -> FineTuning:
    """Return recognition by CTC from the same transcripts as the first model's."""
    flags = [*SPEECH_TO_TEXT, "--train-subset", f"train_{MINUTES}", "--arch", "slam_ctc", "--criterion", "slam_ctc"]
    flags += [*validated(scale.recognition), "--eval-wer", "--best-checkpoint-metric", "cer"]
    return FineTuning("recognizer", "asr", scale.recognition, flags, optimizer="slam_muon", lr=0.003)


def _transcribe(run: Path, data: Path, model: Path) -> Step:
    out = run / "generated" / f"{model.name}.txt"
    words = ["--manifest", TESTS, "--model", model, "--out", out]
    return Step(
        f"{model.name}-pipeline",
        _side("transcribe", data, words),
        outputs=[out],
        environment={"OMP_NUM_THREADS": "1"},
        depends_on={"SIDE": content_hash(SIDE)},
    )


def _decode(run: Path, data: Path, model: Path) -> Step:
    """Return the decoding by the best path, as that is what the pipeline of transformers does."""
    out = run / "generated" / model.name
    return decode(f"{model.name}-decode", data / "asr", model / "checkpoint_best.pt", out, ["--beam", "1"])
