"""Interference of speech and text in one model, at two sizes and two ratios of text to speech.

``python -m examples.slam.study.capacity --sizes tiny small`` pre-trains on speech alone, on text alone and on both, for
the same updates, and merges a record of each into ``examples/slam/study/results.json``. The targets are fixed (k-means
of cepstra, masked characters), so that the losses on held-out speech and text of all these models can be compared. An
update on both holds what an update of each alone holds.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.slam.steps import run_steps
from examples.slam.study.records import RESULTS, Record, commit, merge, pretraining_of
from examples.slam.training_steps import CONFIG, ROOT, PreTraining, pretrain

KEYS = ("size", "data", "seed")  # what names a record
SIZES = ("tiny", "small")
UPDATES, VALIDATIONS = 400, 5
# What an update holds, and its corpora file. The names ending in 4 have four times as much text.
CORPORA: Mapping[str, Path] = {
    "speech": CONFIG / "study/kmeans.yaml",
    "text": CONFIG / "laptop/text.yaml",
    "text 4": CONFIG / "study/text_4.yaml",
    "speech, text": CONFIG / "study/speech_text.yaml",
    "speech, text 4": CONFIG / "study/speech_text_4.yaml",
}


def trained(run: Path, data: Path, size: str, name: str, seed: int, updates: int = UPDATES) -> Record:
    """Pre-train a model, unless it is done, and return its record.

    Args:
        run: folder of all trainings.
        data: folder made by ``slam prepare english``, with ``kmeans.npz``.
        name: of ``CORPORA``.
    """
    folder = run / "-".join([size, *name.replace(",", "").split(), f"seed{seed}"])
    recipe = PreTraining(CORPORA[name], updates, max(1, updates // VALIDATIONS), size)
    logs = run / "logs" / folder.name
    run_steps([pretrain(folder, data, recipe, 1, seed)], logs)
    names = dict(zip(KEYS, (size, name, seed), strict=True))
    return {**names, "commit": commit(), **pretraining_of(logs / f"{folder.name}.log")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the unfinished trainings, and merge their records."""
    parser = argparse.ArgumentParser(prog="python -m examples.slam.study.capacity", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SIZE", help="of the model (default: tiny small)")
    names = "; ".join(CORPORA)
    parser.add_argument("--on", nargs="+", choices=CORPORA, default=[*CORPORA], metavar="DATA", help=names)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="SEED", help="(default: 1)")
    parser.add_argument("--updates", type=int, default=UPDATES, help=f"of each training (default: {UPDATES})")
    parser.add_argument("--run", type=Path, default=ROOT / "runs/study-capacity", help="folder of the trainings")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "runs/study-cpu/data", help="folder made by slam prepare english"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the records")
    options = parser.parse_args(arguments)
    run, data = options.run.absolute(), options.data.absolute()
    if not (data / "kmeans.npz").exists():
        print(f"error: {data}: found no kmeans.npz, expected the data folder of the study", file=sys.stderr)
        return 1
    for seed in options.seeds:
        for size in options.sizes:
            for name in options.on:
                merge(options.results, "capacity", KEYS, [trained(run, data, size, name, seed, options.updates)])
    print(f"Records: {options.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
