"""Turn normalised text into the memory-mapped numbers that fairseq reads.

    python -m data_prep.binarize --text FILE --vocab FOLDER --out PREFIX

writes ``PREFIX.bin`` and ``PREFIX.idx``, as ``fairseq-preprocess --only-source`` does of text cut into pieces. A
sentence a line; an empty line ends a document and becomes an item of ``</s>`` alone, as fairseq's block modes expect.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq.binarizer import FileBinarizer, VocabularyDatasetBinarizer
from fairseq.data import Dictionary
from sentencepiece import SentencePieceProcessor

from slam_plugin.data.errors import DataError


class Binarized(NamedTuple):
    """What was written: sentences and document breaks, tokens with each line's ``</s>``, and how many are ``<unk>``."""

    lines: int
    tokens: int
    unknown: int


def binarize(text: str | Path, vocabulary: str | Path, prefix: str | Path) -> Binarized:
    """Write ``prefix.bin`` and ``prefix.idx`` of the file ``text``; ``vocabulary`` is a folder (dict.txt, spm.model).

    Raises :class:`DataError` where a file is absent or ``text`` holds no line.
    """
    text, vocabulary, prefix = Path(text), Path(vocabulary), Path(prefix)
    for needed in (text, vocabulary / "dict.txt", vocabulary / "spm.model"):
        if not needed.is_file():
            raise DataError(f"{needed}: there is no such file")
    if not text.stat().st_size:
        raise DataError(f"{text}: is empty, expected a sentence a line")
    pieces = SentencePieceProcessor(model_file=str(vocabulary / "spm.model"))
    dictionary = Dictionary.load(str(vocabulary / "dict.txt"))
    binarizer = VocabularyDatasetBinarizer(dictionary, lambda line: pieces.encode(line.strip(), out_type=str))
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=f".{prefix.name}.") as folder:
        summary = FileBinarizer.multiprocess_dataset(
            str(text), "mmap", binarizer, str(Path(folder, "text")), vocab_size=len(dictionary)
        )
        # The index comes last: readers look for it first.
        for suffix in (".bin", ".idx"):
            Path(folder, f"text{suffix}").replace(f"{prefix}{suffix}")
    return Binarized(summary.num_seq, summary.num_tok, summary.num_replaced)


def main(argv: Sequence[str] | None = None) -> int:
    """Binarise the file of the command line; return 1 where it cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.binarize", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--text", type=Path, required=True, metavar="FILE", help="a sentence a line, documents between empty lines"
    )
    parser.add_argument("--vocab", type=Path, required=True, metavar="FOLDER", help="holds dict.txt and spm.model")
    parser.add_argument("--out", type=Path, required=True, metavar="PREFIX")
    arguments = parser.parse_args(argv)
    try:
        done = binarize(arguments.text, arguments.vocab, arguments.out)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.out}: {done.lines} lines, {done.tokens} tokens, {done.unknown} of them unknown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
