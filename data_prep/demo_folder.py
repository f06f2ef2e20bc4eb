"""The steps that fill the demo's data folder, from unpacked packages to checked data; ``data_prep.demo`` takes them."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from data_prep import fillets, fortunes
from data_prep.binarize import binarize
from data_prep.pack import pack_manifests
from data_prep.vocab import train_vocabulary
from slam_plugin.data.manifest import Manifest
from slam_plugin.data.validate import ensure_valid

# Every piece but one occurs ten times or more, and a Czech word has 2.3 of them.
JOINT_PIECES = 1000
# Of 1000 pieces 700 would occur fewer than ten times in so few translations, of 500 not 200.
TARGET_PIECES = 500
# More than any alphabet here has: every character that occurs becomes a symbol.
MOST_CHARACTERS = 200
FRAMES_A_MINUTE = 6000
SHORTEST_FRAMES, LONGEST_FRAMES = 40, 1500

_TEXT_COLUMNS = ("tgt_text", "src_text")


def fill(tree: Path, out: Path, limit: int | None, jobs: int, say: Callable[[str], None]) -> dict:
    """Make everything below ``out`` but the statistics, which are returned; ``say`` is told of each step's begin."""
    torch.set_num_threads(1)

    say("dialogue: sound files, transcripts and translations to manifests")
    corpus = fillets.read_corpus(tree)
    corpus = corpus._replace(utterances=_some(corpus.utterances, limit))
    fillets.write_manifests(corpus, out)
    manifests = sorted(out.rglob("*.tsv"))

    say("dialogue: log-mel features, once for all manifests")
    pack_manifests(manifests, out / "features.zip", jobs=jobs, progress=True)

    say("prose: fortunes to sentences")
    prose = fortunes.read_prose(tree)
    documents = {"train": prose.train[:limit], "valid": prose.valid[:limit]}
    for split, chosen in documents.items():
        fortunes.write_documents(out / "text" / f"{split}.txt", chosen)

    say("vocabularies: joint pieces, characters, pieces of the translations")
    sentences = itertools.chain(_texts(out / "pairs/train.tsv", "tgt_text"), *documents["train"])
    symbols = {
        "joint": train_vocabulary(sentences, out, JOINT_PIECES),
        "asr": train_vocabulary(_texts(out / "asr/train.tsv", "tgt_text"), out / "asr", MOST_CHARACTERS, "char"),
        "st": train_vocabulary(_texts(out / "st/train.tsv", "tgt_text"), out / "st", TARGET_PIECES),
    }

    say("prose: sentences to numbers")
    text = {}
    for split, chosen in documents.items():
        done = binarize(out / "text" / f"{split}.txt", out, out / "text" / split)
        count = {"documents": len(chosen), "sentences": sum(map(len, chosen))}
        text[split] = count | {"tokens": done.tokens, "unknown": done.unknown}

    say("check of every utterance")
    for path in manifests:
        manifest = Manifest.open(path)
        texts = [column for column in _TEXT_COLUMNS if column in manifest.columns]
        ensure_valid(manifest, path.parent, SHORTEST_FRAMES, LONGEST_FRAMES, texts, jobs=jobs)
    return {
        "manifests": {path.relative_to(out).as_posix(): _describe(path) for path in manifests},
        "text": text,
        "symbols": symbols,
        "alphabet": "".join(sorted(set().union(*_texts(out / "asr/train.tsv", "tgt_text")))),
        "left_out": {"dialogue": dict(sorted(corpus.dropped.items())), "prose": dict(sorted(prose.dropped.items()))},
    }


def _some(utterances: Sequence[fillets.Utterance], limit: int | None) -> list[fillets.Utterance]:
    """At most ``limit`` utterances of each split, those with all texts first, spread over levels; the order stays."""

    def rank(each: fillets.Utterance) -> tuple[bool, bytes]:
        return each.translation is None, hashlib.md5(each.id.encode()).digest()

    chosen = set()
    for split in {each.split for each in utterances}:
        ranked = sorted((each for each in utterances if each.split == split), key=rank)
        chosen |= {each.id for each in ranked[:limit]}
    return [each for each in utterances if each.id in chosen]


def _texts(manifest: Path, column: str) -> list[str]:
    rows = Manifest.open(manifest)
    return [rows.value(index, column) for index in range(len(rows))]


def _describe(path: Path) -> dict[str, int | float]:
    manifest = Manifest.open(path)
    speakers = {manifest.value(row, "speaker") for row in range(len(manifest))}
    minutes = int(manifest.column("n_frames").sum()) / FRAMES_A_MINUTE
    return {"utterances": len(manifest), "minutes": round(minutes, 2), "speakers": len(speakers)}
