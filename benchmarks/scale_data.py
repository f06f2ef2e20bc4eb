"""Large data made in seconds: manifests and texts of any size over a few features."""

import io
import zipfile
from pathlib import Path

import numpy as np
import yaml

from benchmarks.corpus import CORPORA, PIECES, SYLLABLES
from data_prep.text.vocab import train_vocabulary
from slam_plugin.data.constants import MEL_BINS
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.data.manifests.validate import leave_stamp
from slam_plugin.data.text.indexed import write_index
from slam_plugin.data.text.vocabulary import Vocabulary

UTTERANCES = 256  # shared by all rows
FRAMES, SPREAD, MIN_FRAMES, MAX_FRAMES = 600, 0.7, 40, 1600
TOKENS, TOKENS_SPREAD, MAX_TOKENS = 12, 0.6, 200  # of a sentence
DOCUMENT = 20  # sentences on average
AT_ONCE = 1 << 18
SHARDS = 10
BLOCK = 512
OBJECTIVES = ("contrastive", "masked_prediction", "span_mlm")


def write_vocabulary(folder: Path) -> None:
    """Write a vocabulary of made-up words."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(3000)]
    train_vocabulary((" ".join(rng.choice(words, 12)) for _ in range(2000)), folder, PIECES)


def write_manifest(folder: Path, rows: int) -> Path:
    """Write ``train.tsv`` of ``rows`` with transcripts and speakers. All rows point into one small zip of features."""
    rng = np.random.default_rng(2)
    places = [f"{place}\t{frames}" for place, frames in _write_features(folder / "features.zip", rng)]
    transcripts = [" ".join(rng.choice(SYLLABLES, 16)) for _ in range(1000)]
    path = folder / "train.tsv"
    with path.open("w", encoding="utf-8") as file:
        file.write("id\taudio\tn_frames\ttgt_text\tspeaker\n")
        for begin in range(0, rows, AT_ONCE):
            chosen = rng.integers(len(places), size=min(AT_ONCE, rows - begin)).tolist()
            file.writelines(
                f"utterance-{row:09d}\t{places[place]}\t{transcripts[row % 1000]}\tspeaker{row // 500}\n"
                for row, place in enumerate(chosen, begin)
            )
    return path


def _write_features(path: Path, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Write a stored zip of random features of different lengths and return the location and frames of each."""
    frames = np.clip(rng.lognormal(np.log(FRAMES), SPREAD, UTTERANCES), MIN_FRAMES, MAX_FRAMES).astype(int).tolist()
    found = []
    with zipfile.ZipFile(path, "w") as packed:
        for number, count in enumerate(frames):
            content = io.BytesIO()
            np.save(content, rng.standard_normal((count, MEL_BINS)).astype(np.float16))
            packed.writestr(f"{number}.npy", content.getvalue())
            end, size = packed.fp.tell(), len(content.getvalue())  # a stored file's bytes are the last ones written
            found.append((f"{path.name}:{end - size}:{size}", count))
    return found


def stamp(path: Path) -> None:
    """Leave the stamp of decoding all rows, which would take a day at this size and is not measured."""
    leave_stamp(Manifest.open(path), path.parent)


def write_text(prefix: Path, sentences: int, seed: int) -> None:
    """Write ``prefix.bin`` and ``prefix.idx`` of random sentences with empty lines between documents, in chunks."""
    rng = np.random.default_rng(seed)
    dictionary = Vocabulary.load(prefix.parent).dictionary
    sizes = np.empty(sentences, np.int32)
    with Path(f"{prefix}.bin").open("wb") as file:
        for begin in range(0, sentences, AT_ONCE):
            part = sizes[begin : begin + AT_ONCE]
            part[:] = np.clip(rng.lognormal(np.log(TOKENS), TOKENS_SPREAD, len(part)), 2, MAX_TOKENS)
            part[rng.random(len(part)) < 1 / DOCUMENT] = 1
            ends = np.cumsum(part)
            ids = rng.integers(dictionary.nspecial, len(dictionary), ends[-1], dtype=np.uint16)
            ids[ends - 1] = dictionary.eos()
            file.write(ids.tobytes())
    with Path(f"{prefix}.idx").open("wb") as file:
        write_index(file, sizes, ids.dtype)


def write_corpora(path: Path, texts: list[str], block: int | None) -> Path:
    """Write a ``corpora.yaml`` of the manifest and of the shards ``texts`` to ``path`` and return it."""
    demo = yaml.safe_load(CORPORA.read_text(encoding="utf-8"))
    speech = {
        "kind": "speech",
        "train": ["train.tsv"],
        "budget": 9600,
        "min_length": MIN_FRAMES,
        "max_length": MAX_FRAMES,
    }
    text = {"kind": "text", "train": texts, "budget": 8 * BLOCK, "min_length": 4, "max_length": BLOCK}
    corpora = {
        "mode": "all",
        "stages": {0: ["speech", "text"]},
        "quota": {"speech": 1, "text": 1},
        "corpora": {"sounds": speech, "prose": text if block is None else {**text, "block": block}},
        "objectives": {name: demo["objectives"][name] for name in OBJECTIVES},
    }
    path.write_text(yaml.safe_dump(corpora, sort_keys=False), encoding="utf-8")
    return path
