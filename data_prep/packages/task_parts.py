"""Parts of data folders of text tasks: labeled sentences, and written and spoken sentences."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_prep.engine.splits import SPLIT_OF_FAIRSEQ
from data_prep.packages import bibles, movie_reviews
from data_prep.packages.normalization import Sentence
from data_prep.text.binarize import Binarized, binarize
from data_prep.text.labeled import read_rows, write_rows
from data_prep.text.parallel import FILES, SIDES
from data_prep.text.sentences import write_sentences
from data_prep.text.vocabulary_files import place_vocabulary
from slam_plugin.data.files import atomic_write

# Tasks of classification: the corpus of each, and its classes.
CLASSIFIED = {"sentiment": ("movie_reviews", movie_reviews.LABELS), "paraphrase": ("bibles", bibles.LABELS)}


def write_classified(corpora: Path, vocabulary: Path, out: Path, limit: int | None) -> dict[str, dict]:
    """Write ``out/TASK`` for each of :data:`CLASSIFIED`. Return the counts of each task's splits."""
    tasks = CLASSIFIED.items()
    return {task: _labeled(corpora / corpus, vocabulary, out / task, labels, limit) for task, (corpus, labels) in tasks}


def _labeled(corpus: Path, vocabulary: Path, folder: Path, labels: Sequence[str], limit: int | None) -> dict[str, dict]:
    """Write sentences with labels as fairseq's task reads them, and as text."""
    rows = {name: read_rows(corpus / f"{split}.tsv")[:limit] for name, split in SPLIT_OF_FAIRSEQ.items()}
    done = write_sentences(rows, vocabulary, folder, labels)
    for name, chosen in rows.items():
        write_rows(folder / f"{name}.tsv", chosen)
    return {
        name: {"rows": len(chosen), "labels": _counts(row.label for row in chosen), **sizes(done[name])}
        for name, chosen in rows.items()
    }


def read_sentences(folder: Path, split: str) -> list[Sentence]:
    """Return the sentences of a split of the corpus of normalization."""
    sides = ((folder / f"{split}.{name}").read_text(encoding="utf-8").split("\n")[:-1] for name in FILES)
    return [Sentence(*each) for each in zip(*sides, strict=True)]


def write_normalization(folder: Path, splits: Mapping[str, Sequence[Sentence]], vocabulary: Path) -> dict[str, dict]:
    """Write written and spoken sentences as ``slam_translation`` reads them. Return the counts of each split."""
    found = {}
    for name, sentences in splits.items():
        for part, lines in zip(FILES, zip(*sentences, strict=True), strict=True):
            with atomic_write(folder / f"{name}.{part}") as file:
                file.writelines(f"{line}\n" for line in lines)
        done = binarize_sides(folder, name, dict.fromkeys(SIDES, vocabulary))
        classes = _counts(sentence.kind for sentence in sentences)
        found[name] = {"rows": len(sentences), "classes": classes, **sizes(done)}
    place_vocabulary(vocabulary, folder)
    return found


def binarize_sides(folder: Path, name: str, vocabularies: Mapping[str, Path]) -> list[Binarized]:
    """Binarize ``NAME.SIDE`` of both sides as ``NAME.SIDE-SIDE.SIDE``, the names of fairseq's translation task."""
    both = "-".join(vocabularies)
    return [
        binarize(folder / f"{name}.{side}", vocabulary, folder / f"{name}.{both}.{side}")
        for side, vocabulary in vocabularies.items()
    ]


def sizes(done: Sequence[Binarized]) -> dict[str, list[int]]:
    """Return the numbers of tokens and of unknown tokens of each input or side."""
    return {"tokens": [each.tokens for each in done], "unknown": [each.unknown for each in done]}


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
