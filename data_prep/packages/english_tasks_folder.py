"""Build steps of the English text tasks' data folder, in order. The command is ``slam prepare english-tasks``."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from data_prep.engine.command import prepare
from data_prep.engine.splits import bucket
from data_prep.packages import bibles, movie_reviews, normalization
from data_prep.packages.normalization import Sentence
from data_prep.packages.task_parts import read_sentences, write_classified, write_normalization
from slam_plugin.data.constants import TEST, TRAIN, VALID
from slam_plugin.data.text.vocabulary import Vocabulary

CORPORA = {"bibles": bibles, "movie_reviews": movie_reviews, "normalization": normalization}


def fill(
    tree: Path, vocabulary: Path, out: Path, limit: int | None, jobs: int, announce: Callable[[str], None]
) -> dict:
    """Make everything below ``out`` but the statistics, which are returned. ``announce`` gets the name of each step."""
    torch.set_num_threads(1)
    corpora = out / "corpora"
    announce("text: verses, reviews, written and spoken forms")
    made = {name: prepare(module.open_corpus(tree), corpora / name, jobs) for name, module in CORPORA.items()}
    left_out = {name: dict(stats["dropped"]) for name, stats in made.items()}

    announce("text: sentences to numbers")
    tasks = write_classified(corpora, vocabulary, out, limit)
    held_out = read_sentences(corpora / "normalization", VALID)
    splits = {
        TRAIN: read_sentences(corpora / "normalization", TRAIN),
        # Glosses of its test set are in the text of ``slam prepare english``.
        VALID: [sentence for sentence in held_out if bucket(sentence.written, 2)],
        TEST: [sentence for sentence in held_out if not bucket(sentence.written, 2)],
    }
    known = Vocabulary.load(vocabulary)
    spelled = {split: _spelled(sentences, known) for split, sentences in splits.items()}
    unknown = sum(map(len, splits.values())) - sum(map(len, spelled.values()))
    left_out["normalization"]["with characters that the vocabulary lacks"] = unknown
    chosen = {split: sentences[:limit] for split, sentences in spelled.items()}
    tasks["normalization"] = write_normalization(out / "normalization", chosen, vocabulary)
    return {"tasks": tasks, "left_out": left_out}


def _spelled(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> list[Sentence]:
    """Return the sentences whose both sides the vocabulary can write."""
    unknown = vocabulary.dictionary.unk()
    return [
        sentence
        for sentence in sentences
        if unknown not in vocabulary.encode(sentence.written) and unknown not in vocabulary.encode(sentence.spoken)
    ]
