"""Similarity of speech and its transcript in the shared layers of a pre-trained model: CKA and retrieval.

``python -m examples.slam.study.alignment --rows 6 8 D --seeds 1`` encodes the validation pairs with the pre-trained
model of each row, which must be there, and merges a record of each into ``examples/slam/study/results.json``. Speech
and transcript pass the model apart from each other. Row 6 has seen no pairs: it is what pairs start from.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.slam.study.plan import Study, name_of
from examples.slam.study.records import RESULTS, Record, commit, merge
from examples.slam.study.rows import ROWS
from examples.slam.study.scales import SCALES
from examples.slam.training_steps import ROOT

KEYS = ("scale", "row", "seed")  # what names a record
PAIRS = "pairs/valid.tsv"


def measure(study: Study, row: str, seed: int, pairs: Sequence[tuple[str, str]]) -> Record:
    """Return the record of a row: for each shared layer CKA and retrieval, with what chance gives.

    Args:
        pairs: audio and transcript. No transcript occurs twice.
    """
    # Imported here: the list of arguments must be printed at once.
    import torch

    from slam_plugin.hub import Slam

    slam = Slam.load(study.run / name_of(row, seed) / "checkpoint_last.pt")
    speech, text = ([side for side in sides] for sides in zip(*pairs, strict=True))
    queries = torch.stack(slam.encode(speech=speech, layer="all", pool=True), dim=1)  # (layers, pairs, D)
    keys = torch.stack(slam.encode(text=text, layer="all", pool=True), dim=1)
    layers = [_layer(*states) for states in zip(queries, keys, strict=True)]
    names = dict(zip(KEYS, (study.scale_name, row, seed), strict=True))
    return {**names, "commit": commit(), "pairs": len(pairs), "layers": layers}


def _layer(queries: Any, keys: Any) -> dict[str, float]:
    """Return the figures of a layer from its states (pairs, D) of the utterances and of the transcripts."""
    from slam_plugin.instruments.states import linear_cka, retrieval_accuracy

    found = {
        "cka": linear_cka(queries, keys),
        # The level of unrelated states: it is above 0 with few items for as many dimensions.
        "cka_of_others": linear_cka(queries, keys.roll(1, 0)),
        "retrieval": retrieval_accuracy(queries, keys),
    }
    return {name: round(value, 4) for name, value in found.items()}


def pairs_of(data: Path) -> list[tuple[str, str]]:
    """Return audio and transcript of the validation pairs of a data folder, the first of each transcript."""
    from slam_plugin.data.manifests.manifest import Manifest

    manifest = Manifest.open(data / PAIRS)
    first = {manifest.value(i, "tgt_text"): i for i in reversed(range(len(manifest)))}
    folder = manifest.path.parent  # of the manifest, which names audio relative to it
    return [(f"{folder}/{manifest.value(i, 'audio')}", text) for text, i in first.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows, and merge their records."""
    parser = argparse.ArgumentParser(prog="python -m examples.slam.study.alignment", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=["6", "8", "D"], metavar="ROW", help="(default: 6 8 D)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="SEED", help="(default: 1)")
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="(default: cpu)")
    parser.add_argument("--run", type=Path, help="folder of the trainings (default: runs/study-SCALE)")
    parser.add_argument("--data", type=Path, help="folder made by slam prepare english (default: that of the run)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the records")
    options = parser.parse_args(arguments)
    run = (options.run or ROOT / "runs" / f"study-{options.scale}").absolute()
    data = (options.data or run / "data").absolute()
    study = Study(run, data, run / "text_data", options.scale, SCALES[options.scale], 1)
    pairs = pairs_of(data)
    for seed in options.seeds:
        for row in options.rows:
            merge(options.results, "alignment", KEYS, [measure(study, row, seed, pairs)])
    print(f"Records: {options.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
