"""Exported graphs of a CTC model against the model: errors of greedy search, and CPU time on one thread.

    python -m benchmarks.exported --checkpoint runs/asr/checkpoint_best.pt --manifests data/test.tsv

exports the checkpoint, decodes the sound files of the manifests one by one, and prints a table in Markdown. CPU time is
that from the waveform to the logits. The candidates take turns on each utterance, and the lower of two visits counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.markdown import table
from slam_plugin.data.audio import log_mel, normalize, read_audio
from slam_plugin.data.constants import SAMPLE_RATE
from slam_plugin.data.locations import parse_location, read_bytes
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.decoding.ctc import best_path
from slam_plugin.inference.checkpoints import Checkpoint
from slam_plugin.interchange.programs import export_program
from slam_plugin.machine import machine, versions
from slam_plugin.scoring.text import cer, wer

VISITS = 2
MB = 1e6

# (samples,) -> logits (states, symbols)
Recognize = Callable[[np.ndarray], np.ndarray]


class Utterance(NamedTuple):
    waveform: np.ndarray
    text: str


class Candidate(NamedTuple):
    """A way to run the model. ``size`` is that of its file in bytes, None for the checkpoint, which holds more."""

    name: str
    recognize: Recognize
    size: int | None


def utterances(manifests: Sequence[Path], limit: int | None) -> list[Utterance]:
    """Return the first ``limit`` utterances of manifests with sound files, all of them if it is None."""
    found = []
    for path in manifests:
        manifest = Manifest.open(path)
        for row in range(len(manifest)):
            if limit is not None and len(found) == limit:
                return found
            location = parse_location(manifest.value(row, "audio"), path.parent)
            found.append(Utterance(read_audio(read_bytes(location)).numpy(), manifest.value(row, "tgt_text")))
    return found


def candidates(checkpoint: Checkpoint, folder: Path) -> list[Candidate]:
    """Return the model itself and its exports, which are written into ``folder``."""
    export_program(checkpoint.path, folder / "onnx", int8=True)
    found = [Candidate("the model, in torch", _model(checkpoint), None)]
    for name, file in (("ONNX", "model.onnx"), ("ONNX, eight bits", "model.int8.onnx")):
        path = folder / "onnx" / file
        found.append(Candidate(name, _session(path), path.stat().st_size))
    return found


def _model(checkpoint: Checkpoint) -> Recognize:
    front_end = checkpoint.trunk.front_end

    def recognize(waveform: np.ndarray) -> np.ndarray:
        features = normalize(log_mel(torch.from_numpy(waveform)), front_end)[None]
        found = checkpoint.model(features, torch.zeros(features.shape[:2], dtype=torch.bool))
        return found["logits"][0].numpy()

    return recognize


def _session(path: Path) -> Recognize:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)

    def recognize(waveform: np.ndarray) -> np.ndarray:
        inputs = {"waveform": waveform[None], "waveform_lengths": np.array([len(waveform)])}
        logits, lengths = session.run(None, inputs)
        return logits[0, : lengths[0]]

    return recognize


def rows(checkpoint: Checkpoint, chosen: Sequence[Candidate], given: Sequence[Utterance]) -> list[list[str]]:
    """Return a row of the table for each candidate."""
    dictionary = checkpoint.vocabulary.dictionary
    texts: dict[str, list[str]] = {candidate.name: [] for candidate in chosen}
    seconds = dict.fromkeys(texts, 0.0)
    for waveform, _ in given:
        lowest = dict.fromkeys(texts, np.inf)
        for visit in range(VISITS):
            for name, recognize, _ in chosen:
                begin = time.process_time()
                logits = recognize(waveform)
                lowest[name] = min(lowest[name], time.process_time() - begin)
                if visit == 0:
                    logits[:, [dictionary.pad(), dictionary.eos()]] = -np.inf
                    tokens = best_path(logits, checkpoint.model.blank).tokens
                    texts[name].append(checkpoint.vocabulary.decode(tokens))
        for name, found in lowest.items():
            seconds[name] += found
    references = [utterance.text for utterance in given]
    minutes = sum(len(utterance.waveform) for utterance in given) / SAMPLE_RATE / 60
    model = texts[chosen[0].name]
    return [
        [
            name,
            "" if size is None else f"{size / MB:.1f}",
            f"{cer(texts[name], references):.2f}",
            f"{wer(texts[name], references):.2f}",
            f"{sum(map(str.__ne__, texts[name], model))}",
            f"{seconds[name] / minutes:.2f}",
        ]
        for name, _, size in chosen
    ]


def main(arguments: Sequence[str] | None = None) -> str:
    """Measure, print the table and return it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exported", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of a CTC model")
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifests with sound files")
    parser.add_argument("--limit", type=int, help="number of utterances (default: all)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    checkpoint = Checkpoint.load(options.checkpoint, device="cpu")
    given = utterances(options.manifests, options.limit)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        found = rows(checkpoint, candidates(checkpoint, Path(folder)), given)
    seconds = sum(len(utterance.waveform) for utterance in given) / SAMPLE_RATE
    facts = ", ".join(f"{name} {value}" for name, value in {**machine(), **versions()}.items())
    print(f"{len(given)} utterances, {seconds:.0f} s of sound; {facts}\n")
    head = ["", "MB", "CER", "WER", "texts that differ", "CPU s per minute of sound"]
    printed = table(head, found)
    print(printed)
    return printed


if __name__ == "__main__":
    main()
