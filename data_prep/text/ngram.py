"""Estimate an n-gram language model of text, for CTC decoding with --lm.

    slam ngram --text data/text/train.txt transcripts.txt --order 3 --out words.arpa --lexicon words.txt
    slam ngram --text data/text/train.txt --vocab data --order 6 --out units.arpa

The text has one sentence per line, normalized as the transcripts of the recognizer. By default the model is one of
words, which blanks separate: decode with it and ``--lexicon``. With ``--vocab``, the folder of a vocabulary (dict.txt
and spm.model), it is one of the vocabulary's units: decode with it alone. Sentences with characters that the vocabulary
lacks are left out then.

The smoothing is interpolated modified Kneser-Ney, as in KenLM's ``lmplz``, which estimates models of large corpora. All
n-grams are kept in memory: about 100 bytes for each word of the text and for each different n-gram, 1 GB for 12 MB of
English at order 5.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.text.kneser_ney import BEGIN, END, UNKNOWN, Model, estimate
from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.lines import lines_in
from slam_plugin.data.text.arpa import MAX_ORDER, MIN_ORDER, write_arpa
from slam_plugin.program import Program

_RESERVED = {BEGIN, END, UNKNOWN}


def words_of(paths: Sequence[str | Path]) -> Iterator[list[str]]:
    """Yield the words of each line that has any. Raises :class:`DataError` for the model's own symbols among them."""
    for path in paths:
        for number, line in enumerate(lines_in(path), start=1):
            words = line.split()
            if not _RESERVED.isdisjoint(words):
                found = ", ".join(sorted(_RESERVED.intersection(words)))
                raise DataError(f"{path}:{number}: found {found}, a symbol of the model, expected a sentence of words")
            if words:
                yield words


def units_of(paths: Sequence[str | Path], vocabulary: str | Path, counts: Counter[str]) -> Iterator[list[str]]:
    """Yield the units of each line that has any. Sentences with unknown characters are counted and left out."""
    from slam_plugin.data.text.vocabulary import Vocabulary  # takes seconds

    known = Vocabulary.load(vocabulary)
    unknown = known.dictionary.unk()
    for words in words_of(paths):
        ids = known.encode(" ".join(words)).tolist()
        if unknown in ids:
            counts["left out"] += 1
        else:
            yield [known.dictionary[i] for i in ids]


def run(options: argparse.Namespace) -> None:
    """Estimate the model, write it, and print its size."""
    for path in options.text:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
    counts: Counter[str] = Counter()
    sentences = words_of(options.text) if options.vocab is None else units_of(options.text, options.vocab, counts)
    try:
        model = estimate(sentences, options.order)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{', '.join(map(str, options.text))}: {error}") from error
    if len(model.orders) < MIN_ORDER:
        raise DataError(f"{options.text[0]}: found no sentence of two words")
    sizes = [len(order.words) for order in model.orders]
    write_arpa(options.out, sizes, model.sections())
    if options.lexicon is not None:
        _write_words(options.lexicon, model)
    if counts["left out"]:
        print(f"left out {counts['left out']} sentences with characters that {options.vocab} lacks")
    print(f"{options.out}: {', '.join(f'{size} {order}-grams' for order, size in enumerate(sizes, start=1))}")


def _write_words(path: Path, model: Model) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{word}\n" for word in model.words if word not in _RESERVED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--text", nargs="+", type=Path, required=True, metavar="FILE", help="one sentence per line")
    parser.add_argument(
        "--order", type=int, choices=range(MIN_ORDER, MAX_ORDER + 1), default=3, help="longest n-grams (%(default)s)"
    )
    parser.add_argument("--vocab", type=Path, metavar="FOLDER", help="model the units of this vocabulary, not words")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the model in the ARPA format")
    parser.add_argument("--lexicon", type=Path, metavar="FILE", help="also write the words, one per line")


main = Program("slam ngram", __doc__, add_arguments, run)
