"""The steps that fill the demo's data folder, from unpacked packages to checked data; ``data_prep.demo`` takes them."""

import itertools
from collections.abc import Callable
from pathlib import Path

import torch

from data_prep import fillets, fortunes
from data_prep.folder_parts import MOST_CHARACTERS, alphabet, check, describe, some, texts, write_text
from data_prep.pack import pack_manifests
from data_prep.vocab import train_vocabulary

# Every piece but one occurs ten times or more, and a Czech word has 2.3 of them.
JOINT_PIECES = 1000
# Of 1000 pieces 700 would occur fewer than ten times in so few translations, of 500 not 200.
TARGET_PIECES = 500


def fill(tree: Path, out: Path, limit: int | None, jobs: int, say: Callable[[str], None]) -> dict:
    """Make everything below ``out`` but the statistics, which are returned; ``say`` is told of each step's begin."""
    torch.set_num_threads(1)

    say("dialogue: sound files, transcripts and translations to manifests")
    corpus = fillets.read_corpus(tree)
    corpus = corpus._replace(utterances=some(corpus.utterances, limit))
    fillets.write_manifests(corpus, out)
    manifests = sorted(out.rglob("*.tsv"))

    say("dialogue: log-mel features, once for all manifests")
    pack_manifests(manifests, out / "features.zip", jobs=jobs, progress=True)

    say("prose: fortunes to sentences")
    prose = fortunes.read_prose(tree)
    documents = {"train": prose.train[:limit], "valid": prose.valid[:limit]}

    say("vocabularies: joint pieces, characters, pieces of the translations")
    transcripts = texts(out / "asr/train.tsv")
    sentences = itertools.chain(texts(out / "pairs/train.tsv"), *documents["train"])
    symbols = {
        "joint": train_vocabulary(sentences, out, JOINT_PIECES),
        "asr": train_vocabulary(transcripts, out / "asr", MOST_CHARACTERS, "char"),
        "st": train_vocabulary(texts(out / "st/train.tsv"), out / "st", TARGET_PIECES),
    }

    say("prose: sentences to numbers")
    text = {split: write_text(out / "text" / split, chosen, out) for split, chosen in documents.items()}

    say("check of every utterance")
    check(manifests, jobs)
    return {
        "manifests": describe(manifests, out),
        "text": text,
        "symbols": symbols,
        "alphabet": alphabet(transcripts),
        "left_out": {"dialogue": dict(sorted(corpus.dropped.items())), "prose": dict(sorted(prose.dropped.items()))},
    }
