"""Train a SentencePiece model and write the matching fairseq dictionary.

    slam vocab --text data/librilm/train-*.txt --manifests data/librispeech/train.tsv --out data --size 32000

``OUT/spm.model`` cuts text into pieces. ``OUT/dict.txt`` lists the pieces with their counts in the text, one per line,
in the model's order without its control symbols, then ``<mask> 0``. fairseq adds its own four symbols before them, so
line k, from 0, has the id k + 4. The same text in the same order gives the same bytes.

If there are more than ``--sample`` sentences, that many are drawn uniformly, always the same ones. The model is trained
and the counts are taken on these. Only they are held in memory.

The paper's vocabularies:

    pre-training, text and transcripts    --size 32000 --text FILES --manifests TSV
    speech translation                    --size 8000 --manifests TSV
    speech recognition                    --size 1000 --manifests TSV

``--languages de ca`` adds the tags ``<lang:de>`` and ``<lang:ca>`` before all pieces. A translation starts with the tag
of its language. A tag is no part of any text: its count is 0, and training text that spells it is refused. Later text
that spells it would be cut to the tag; text that :func:`data_prep.text.normalize.normalize` returns never does.
"""

import argparse
import io
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import sentencepiece
from tqdm import tqdm

from slam_plugin.data.errors import DataError
from slam_plugin.data.files import atomic_write
from slam_plugin.data.lines import lines_in
from slam_plugin.data.manifests.manifest import Manifest
from slam_plugin.program import Program, UsageError, positive

MODEL_TYPES = ("unigram", "char")
MASK = "<mask>"
LANGUAGE_TAG = "<lang:{}>"
SAMPLE = 1_000_000  # sentences: SentencePiece holds what it trains on in memory, and more than once

_QUIET_SECONDS = 5.0  # before progress is shown: most texts are done by then
_ROWS_AT_ONCE = 10_000
# SentencePiece silently skips longer lines; its default limit of 4192 bytes would lose paragraphs.
_MAX_LINE_BYTES = 1 << 20
_LANGUAGE = re.compile(r"[A-Za-z][\w-]*")


def train_vocabulary(
    sentences: Iterable[str],
    out: str | Path,
    size: int,
    model_type: str = "unigram",
    byte_fallback: bool = False,
    split_digits: bool = False,
    languages: Sequence[str] = (),
    sample: int = SAMPLE,
) -> int:
    """Write ``spm.model`` and ``dict.txt`` into the folder ``out`` and return the number of symbols in ``dict.txt``.

    ``size`` is an upper bound that a small text does not reach. SentencePiece does not change the characters: normalize
    the text before (:mod:`data_prep.text.normalize`). ``byte_fallback`` adds 256 pieces, so that no character is
    unknown. ``split_digits`` makes each digit a piece. Each of ``languages`` gets a tag, included in ``size``. If there
    are more than ``sample`` sentences, that many are drawn. Raises :class:`DataError` if there is no text, if it spells
    a tag or has carriage returns within its lines, or if ``size`` is less than the number of characters.
    """
    tags = _tags(languages)
    used = draw(_without(tags, (sentence for sentence in sentences if sentence.strip())), sample)
    if not used:
        raise DataError(f"{out}: found no sentence in the text for the vocabulary")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(used),
            model_writer=model,
            vocab_size=size,
            model_type=model_type,
            hard_vocab_limit=False,
            byte_fallback=byte_fallback,
            user_defined_symbols=tags,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=_MAX_LINE_BYTES,
            # Several threads would sum probabilities in another order.
            num_threads=1,
            minloglevel=2,
            # Passed only if set: the model stores it, and models made before it existed would get another hash.
            **({"split_digits": True} if split_digits else {}),
        )
    except (RuntimeError, OSError) as error:
        raise DataError(f"{out}: no vocabulary of {size} pieces from {len(used)} sentences: {error}") from error
    symbols = {**_count_pieces(model.getvalue(), used), MASK: 0}
    broken = next((symbol for symbol in symbols if "\r" in symbol), None)
    if broken:
        raise DataError(f"{out}: found the piece {broken!r}, which breaks dict.txt; expected line ends of LF or CRLF")
    with atomic_write(Path(out, "spm.model"), "wb") as file:
        file.write(model.getvalue())
    with atomic_write(Path(out, "dict.txt")) as file:
        file.writelines(f"{symbol} {count}\n" for symbol, count in symbols.items())
    return len(symbols)


def draw(sentences: Iterable[str], most: int) -> list[str]:
    """Return all sentences in their order, or ``most`` of them, drawn uniformly, if there are more.

    The draw depends only on the number of sentences. If some are left out, a line on stderr says how many.
    """
    # Python guarantees the numbers of ``random()`` across versions.
    stream = random.Random(0)
    drawn: list[tuple[int, str]] = []
    seen = 0
    for sentence in tqdm(sentences, unit=" sentences", unit_scale=True, leave=False, delay=_QUIET_SECONDS):
        if seen < most:
            drawn.append((seen, sentence))
        elif (place := int(stream.random() * (seen + 1))) < most:
            drawn[place] = (seen, sentence)
        seen += 1
    if seen > most:
        print(f"drew {most:,} of {seen:,} sentences for the vocabulary", file=sys.stderr)
    return [sentence for _, sentence in sorted(drawn)]


def _tags(languages: Sequence[str]) -> list[str]:
    """Return the tags of the languages."""
    wrong = [name for name in languages if not _LANGUAGE.fullmatch(name)]
    if wrong or len(set(languages)) < len(languages):
        raise DataError(f"found the languages {' '.join(languages)}, expected different names such as de or zh-CN")
    return [LANGUAGE_TAG.format(name) for name in languages]


def _without(tags: Sequence[str], sentences: Iterable[str]) -> Iterator[str]:
    """Yield the sentences. Raises :class:`DataError` at the first that spells a tag."""
    for sentence in sentences:
        spelled = next((tag for tag in tags if tag in sentence), None)
        if spelled:
            raise DataError(f"the text for the vocabulary spells the language tag {spelled}: {sentence!r}")
        yield sentence


def _count_pieces(model: bytes, sentences: Sequence[str]) -> dict[str, int]:
    """Return the count of each piece of a serialized model, in its order, without unknown and control symbols.

    None of them can equal a symbol of fairseq: SentencePiece never puts a letter and a bracket into one piece.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    counts = [0] * processor.get_piece_size()
    for sentence in sentences:
        for piece in processor.encode(sentence, out_type=int):
            counts[piece] += 1
    used = (i for i in range(len(counts)) if not processor.is_unknown(i) and not processor.is_control(i))
    return {processor.id_to_piece(i): counts[i] for i in used}


def _lines(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        yield from lines_in(path)


def _texts(manifests: Sequence[Path], column: str) -> Iterator[str]:
    """Yield a column of the manifests, with a few rows in memory at a time."""
    for path in manifests:
        for batch in Manifest.open(path).batches_of(column):
            for begin in range(0, len(batch), _ROWS_AT_ONCE):
                yield from batch[begin : begin + _ROWS_AT_ONCE].to_pylist()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--text", nargs="+", type=Path, default=(), metavar="FILE", help="text, one sentence per line")
    parser.add_argument("--manifests", nargs="+", type=Path, default=(), metavar="TSV", help="manifests with text")
    parser.add_argument(
        "--column", default="tgt_text", metavar="NAME", help="text column of the manifests (default: tgt_text)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where to write dict.txt and spm.model"
    )
    parser.add_argument("--size", type=int, default=1000, help="maximum number of pieces (default: 1000)")
    parser.add_argument("--model-type", choices=MODEL_TYPES, default="unigram", help="(default: unigram)")
    parser.add_argument(
        "--sample", type=positive, default=SAMPLE, metavar="N", help=f"maximum number of sentences (default: {SAMPLE})"
    )
    parser.add_argument(
        "--byte-fallback", action="store_true", help="encode unknown characters as bytes (256 more pieces)"
    )
    parser.add_argument("--split-digits", action="store_true", help="make each digit a piece")
    parser.add_argument(
        "--languages", nargs="+", default=(), metavar="NAME", help="target languages of a model, a tag for each"
    )


def run(options: argparse.Namespace) -> None:
    """Train on the specified files and print the number of symbols."""
    if not options.text and not options.manifests:
        raise UsageError("expected --text, --manifests or both")
    count = train_vocabulary(
        chain(_lines(options.text), _texts(options.manifests, options.column)),
        options.out,
        options.size,
        options.model_type,
        options.byte_fallback,
        options.split_digits,
        options.languages,
        options.sample,
    )
    print(f"{count} symbols in {options.out / 'dict.txt'}")


main = Program("slam vocab", __doc__, add_arguments, run)
