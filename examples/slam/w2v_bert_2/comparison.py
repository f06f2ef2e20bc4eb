"""The figures of the example: losses of the joint training, and the recognition of the test set by each model."""

import json
from pathlib import Path
from typing import Any

from slam_plugin.data.files import atomic_write

# Each file of texts, with what wrote it.
TEXTS = {
    "theirs.txt": "first model of transformers, its pipeline",
    "direct/generate-test.txt": "imported, fine-tuned, fairseq-generate",
    "recognizer/generate-test.txt": "imported, continued jointly, fine-tuned, fairseq-generate",
    "exported.txt": "the same, exported, pipeline of transformers",
}
OBJECTIVES = ("contrastive", "masked_prediction", "span_mlm", "ctc")
OURS, EXPORTED = "recognizer/generate-test.txt", "exported.txt"


def compare(run: Path) -> None:
    """Score all texts and write ``results.json``."""
    # Imported here: the runner must start fast and must not start threads.
    from examples.slam.steps import cpu_seconds_of, seconds_of
    from slam_plugin.machine import machine, versions
    from slam_plugin.scoring.text import read_generated, score_file

    written = {name: run / "generated" / name for name in TEXTS}
    ours, exported = (read_generated(written[name]) for name in (OURS, EXPORTED))
    if [line.reference for line in ours] != [line.reference for line in exported]:
        raise ValueError(f"found other references in {written[EXPORTED]} than in {written[OURS]}, expected the same")
    results = {
        "joint": losses(run / "logs/joint.log"),
        "recognition": {name: score_file(path, ("cer", "wer")) for name, path in written.items()},
        "same_text": sum(a.hypothesis == b.hypothesis for a, b in zip(ours, exported, strict=True)),
        "sentences": len(ours),
        "seconds": seconds_of(run / "logs"),
        "cpu_seconds": cpu_seconds_of(run / "logs"),
        "machine": machine(),
        "versions": versions(),
    }
    with atomic_write(run / "results.json") as file:
        json.dump(results, file, indent=1, ensure_ascii=False)


def losses(log: Path) -> dict[str, dict[str, float]]:
    """Return the losses of the objectives over the first updates that were logged together, and over the last."""
    from slam_plugin.reporting.logs import INTERVAL, read_log, series

    records = read_log(log)
    found = {name: series(records, INTERVAL, f"{name}_loss") for name in OBJECTIVES}
    return {name: {"first": values[0][1], "last": values[-1][1]} for name, values in found.items()}


def table(results: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = [f"{'loss in the joint training':60}{'first':>8}{'last':>8}"]
    lines += [f"{name:60}{entry['first']:8.3f}{entry['last']:8.3f}" for name, entry in results["joint"].items()]
    lines.append(f"\n{'test set':60}{'CER':>8}{'WER':>8}")
    for name, title in TEXTS.items():
        scores = results["recognition"][name]
        lines.append(f"{title:60}{scores['cer']:8.2f}{scores['wer']:8.2f}")
    lines.append(
        f"\nThe exported model writes the text of fairseq-generate in {results['same_text']} of "
        f"{results['sentences']} sentences."
    )
    return "\n".join(lines)
